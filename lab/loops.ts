import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { run, tryRun, until } from './command.ts'

interface LoopDevice {
  readonly name: string
  /** Device of the file system that the backing file is on, `major:minor`. */
  readonly fileSystem: string
  readonly inode: string
}

const loopDevices = async (): Promise<LoopDevice[]> => {
  // Not the path: it is that within the host's namespace, and says the same for every host.
  const { stdout } = await run(['losetup', '--list', '--noheadings', '--raw', '--output', 'NAME,BACK-MAJ:MIN,BACK-INO'])
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.length === 3)
    .map(([name = '', fileSystem = '', inode = '']) => ({ name, fileSystem, inode }))
}

const deviceNumber = (path: string): string => {
  const { dev } = statSync(path)
  return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
}

/** Loop devices whose backing file lies below `directory`. */
const loopsBelow = async (directory: string): Promise<string[]> => {
  const here = deviceNumber(directory)
  const found: string[] = []
  for (const device of await loopDevices()) {
    if (device.fileSystem !== here) continue
    const search = await tryRun(['find', directory, '-xdev', '-inum', device.inode, '-type', 'f', '-print', '-quit'])
    if (search.stdout.trim() !== '') found.push(device.name)
  }
  return found
}

/**
 * Detaches the loop devices whose backing file lies below `directory`; the mounts on them must be gone with their namespaces.
 * The kernel takes such mounts down in its own time, and with them the devices that detach themselves.
 */
export const detachLoops = async (directory: string): Promise<void> => {
  if (!existsSync(directory)) return
  await until(
    `detaching the loop devices of ${join(directory)}`,
    async () => {
      const names = await loopsBelow(directory)
      for (const name of names) {
        // It would refuse writes for whoever gets it next.
        await tryRun(['blockdev', '--setrw', name])
        await tryRun(['losetup', '--detach', name])
      }
      return names.length === 0 ? true : null
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  )
}
