import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { VolumeId } from '../../domain/ids.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import { type Layout, subvolumeName } from './layout.ts'
import type { Trash } from './trash.ts'

/**
 * A read-only snapshot of the live dataset for as long as `work` takes: it can be read without setting access times, and has a send
 * stream. Two with different names do not meet.
 */
export const withProbe = async <T>(
  parts: { readonly layout: Layout; readonly command: BtrfsCommand; readonly trash: Trash },
  id: VolumeId,
  name: string,
  work: (path: string) => Promise<T>,
): Promise<T> => {
  const { layout, command, trash } = parts
  const home = layout.probeHome(id, name)
  await trash.put(home, `${id}-probe`)
  await mkdir(home, { mode: 0o700 })
  try {
    const probe = join(home, subvolumeName)
    await command.snapshot(layout.live(id), probe, 'read-only')
    return await work(probe)
  } finally {
    await trash.put(home, `${id}-probe`)
  }
}
