import { onTestFinished } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import { createBackend } from '../../../src/backends/registry.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec } from '../../contract/backend-bench.ts'
import { openedEbs } from '../../ec2/opened-pool.ts'
import { loopBtrfs } from '../../support/loop-btrfs.ts'
import { loopDisk } from '../../support/loop-disk.ts'
import { testThinPool } from '../../support/thin-pool.ts'
import { testZpool } from '../../support/zpool.ts'

interface Storage {
  dispose(): Promise<void>
}

const opened = async <Disk extends Storage>(make: () => Promise<Disk>, specOf: (disk: Disk) => string) => {
  const disk = await make()
  onTestFinished(() => disk.dispose())
  const spec = parsePoolSpec(specOf(disk))
  const backend = createBackend({ spec, exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(() => backend.close())
  return backend
}

/** A pool of each kind on storage of its own, until the test ends. */
export const pools = {
  zfs: () => opened(testZpool, ({ dataset }) => `zfs:${dataset}`),
  btrfs: () => opened(loopBtrfs, ({ path }) => `btrfs:${path}`),
  'lvm-thin': () => opened(testThinPool, ({ where }) => `lvm:${where}`),
  loop: () =>
    opened(
      () => loopDisk('xfs'),
      ({ path }) => `loop:${path}`,
    ),
  ebs: async () => (await openedEbs()).backend,
} satisfies Readonly<Record<string, () => Promise<Backend>>>

export type Kind = keyof typeof pools
/** Of what every host has; volumes of a cloud go in and out by chain-test.ts. */
export const kinds = (Object.keys(pools) as Kind[]).filter((kind) => kind !== 'ebs')
