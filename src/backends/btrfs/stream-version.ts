import { readFile } from 'node:fs/promises'
import type { Argv } from '../backend.ts'
import type { BtrfsCommand } from './btrfs-command.ts'

/** Of `btrfs send`; without a parent it is a full one. Version 1 is named by nothing, for older programs. */
export const sendArgv = (snapshot: string, parent: string | null, version: 1 | 2): Argv => [
  ...(['btrfs', 'send', '-q'] as const),
  ...(version === 2 ? ['--proto', '2'] : []),
  ...(parent === null ? [] : ['-p', parent]),
  snapshot,
]

/** btrfs-progs 6.0 read version 2 first; 6.2 is the oldest that we have seen do it. */
const progsOfVersion2 = { major: 6, minor: 2 }

/** What kernel and btrfs-progs of this host both know. */
export const streamVersion = async (command: BtrfsCommand): Promise<1 | 2> => {
  const [kernel, progs] = await Promise.all([kernelVersion(), command.version()])
  if (progs === null || kernel < 2) return 1
  const { major, minor } = progsOfVersion2
  return progs.major > major || (progs.major === major && progs.minor >= minor) ? 2 : 1
}

/** A kernel that does not say knows version 1 only. */
const kernelVersion = async (): Promise<number> => {
  const text = await readFile('/sys/fs/btrfs/features/send_stream_version', 'utf8').catch(() => '1')
  return Number.parseInt(text, 10) || 1
}
