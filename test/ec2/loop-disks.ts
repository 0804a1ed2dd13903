import { spawn } from 'node:child_process'
import { constants, mkdir, mkdtemp, open, realpath, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../../src/lib/files.ts'
import { letIdleLoopsBeWritten } from '../../src/lib/loop-devices.ts'
import { sh } from '../support/loop-btrfs.ts'
import type { Disks } from './disks.ts'
import { fileDisks } from './file-disks.ts'

export interface LoopDisks extends Disks {
  /** Where the links by volume id are on an instance, as udev has them in /dev/disk/by-id. */
  links(instanceId: string): string
  /** For what else the test has; it goes with the disks. */
  readonly directory: string
  /** Of a volume that is attached there. */
  link(volumeId: string, instanceId: string): string
  dispose(): Promise<void>
}

/**
 * Waits until whoever holds the other end of its input has ended, in whatever way; then nothing of ours stays mounted, attached or on disk. Within a
 * session of its own, so that what ends the tests does not end it.
 */
const reaper = `
read -r how
for pass in 1 2 3; do
  losetup -n -O NAME,BACK-FILE | grep -F " $0/" | while read -r loop _; do
    findmnt -rn -o TARGET -S "$loop" | tac | while read -r at; do
      # A frozen file system would hold its device for ever.
      fsfreeze -u "$at"
      umount "$at"
    done
    blockdev --setrw "$loop"
    losetup -d "$loop"
  done
  findmnt -rn -o TARGET | grep -F "$0/" | tac | while read -r at; do umount "$at"; done
  # What those who have ended had started may end after them.
  if [ "$pass" != 3 ] && [ "$how" != orderly ]; then sleep 1; fi
done
rm -rf "$0"
`

/** Volumes as sparse files, attached as loop devices of this machine; snapshots as copies of them. */
export const loopDisks = async (
  instances: readonly string[],
  below = '/var/tmp',
  linksBelow: string | null = null,
): Promise<LoopDisks> => {
  const directory = await mkdtemp(join(below, 'drover-ec2-'))
  const disks = join(directory, 'disks')
  const links = (instanceId: string) => join(linksBelow ?? directory, 'by-id', instanceId)
  for (const path of [disks, ...instances.map(links)]) await mkdir(path, { recursive: true })
  const watcher = spawn('sh', ['-c', reaper, directory], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  watcher.unref()
  const files = fileDisks(disks)
  const link = (id: string, instanceId: string) =>
    join(links(instanceId), `nvme-Amazon_Elastic_Block_Store_${id.replace('-', '')}`)

  return {
    ...files,
    links,
    directory,
    link,
    resize: async (volumeId, sizeBytes) => {
      await files.resize(volumeId, sizeBytes)
      for (const instanceId of instances) {
        const loop = await realpath(link(volumeId, instanceId)).catch(() => null)
        if (loop !== null) await sh('losetup', '--set-capacity', loop)
      }
    },
    attach: async (volumeId, instanceId) => {
      await letIdleLoopsBeWritten()
      const loop = (await sh('losetup', '--find', '--show', files.path(volumeId))).trim()
      await symlink(loop, link(volumeId, instanceId))
    },
    detach: async (volumeId, instanceId) => {
      const loop = await realpath(link(volumeId, instanceId)).catch(() => null)
      if (loop === null) return true
      if (await isClaimed(loop)) return false
      await rm(link(volumeId, instanceId))
      // A loop device stays read-only for whoever gets it next; what EC2 takes away is gone.
      await sh('blockdev', '--setrw', loop)
      await sh('losetup', '--detach', loop)
      return true
    },
    dispose: async () => {
      const ended = new Promise((resolve) => watcher.once('exit', resolve))
      watcher.stdin.end('orderly\n')
      await ended
    },
  }
}

const isClaimed = async (path: string): Promise<boolean> => {
  try {
    await (await open(path, constants.O_RDONLY | constants.O_EXCL)).close()
    return false
  } catch (error) {
    if (isErrno(error, 'EBUSY')) return true
    throw error
  }
}
