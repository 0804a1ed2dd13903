import { onTestFinished } from 'vitest'
import { sh } from './loop-btrfs.ts'

/** The loop device that will be given out next refuses writes, as `blockdev --setro` leaves it for whoever gets it; until the test ends. */
export const nextLoopRefusesWrites = async (): Promise<void> => {
  const next = (await sh('losetup', '--find')).trim()
  await sh('blockdev', '--setro', next)
  onTestFinished(async () => void (await sh('blockdev', '--setrw', next)))
}
