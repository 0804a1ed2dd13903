import { once } from 'node:events'
import {
  appendFile,
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import type { Argv } from '../../src/backends/backend.ts'
import { createExec } from '../../src/lib/exec.ts'
import { isErrno } from '../../src/lib/files.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { ownMounts } from '../../src/lib/mountinfo.ts'
import { plantHostileTree } from '../support/hostile-tree.ts'
import { digestOf } from '../support/tree-digest.ts'
import { describeTree, plantTree } from '../support/volume-tree.ts'

const exec = createExec(silentLogger)

/** What the suites do to files, mounts and streams. A pool that is on no real file system brings hands of its own. */
export interface Hands {
  /** `flush`: on disk when it returns. */
  writeFile(path: string, data: string | Uint8Array, options?: { flush: boolean }): Promise<void>
  appendFile(path: string, text: string): Promise<void>
  readFile(path: string): Promise<Buffer>
  readdir(path: string): Promise<string[]>
  rm(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  chmod(path: string, mode: number): Promise<void>
  symlink(to: string, path: string): Promise<void>
  exists(path: string): Promise<boolean>
  /** For writing, from an empty file on. */
  open(path: string): Promise<{ append(bytes: Uint8Array): Promise<void>; close(): Promise<void> }>
  /** Files with whatever this file system can give a file, and a text that tells all of it. */
  plantTree(directory: string): Promise<void>
  /** The same, and whatever else is hard to copy. */
  plantHostileTree(directory: string): Promise<void>
  /** A digest of every name, trait and byte. */
  digestTree(directory: string): string | Promise<string>
  describeTree(directory: string): Promise<string>
  /** Layers mounted at the path. */
  layersAt(path: string): Promise<number>
  /** A further layer of what is mounted there. */
  bindAgain(path: string): Promise<void>
  /** Somebody else's file system at the path. @returns takes it away */
  mountOther(path: string): Promise<() => Promise<void>>
  /** Runs both commands with a pipe between them. `cut`: the sender is killed after its first bytes. */
  pipe(send: Argv, receive: Argv, options?: { cut: boolean }): Promise<{ codes: (number | null)[]; bytes: number }>
  /** The same; both are killed when so many bytes have gone. */
  cutOff(send: Argv, receive: Argv, after: number): Promise<void>
}

export const realHands: Hands = {
  writeFile: (path, data, options) => writeFile(path, data, { flush: options?.flush ?? false }),
  appendFile,
  readFile: (path) => readFile(path),
  readdir: (path) => readdir(path),
  rm: (path) => rm(path),
  rename,
  chmod,
  symlink: (to, path) => symlink(to, path),
  exists: async (path) => {
    try {
      await lstat(path)
      return true
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false
      throw error
    }
  },
  open: async (path) => {
    const handle = await open(path, 'w')
    return {
      append: async (bytes) => {
        // writeFile on a handle goes on after a short write, until all is written or the error shows.
        await handle.writeFile(bytes)
        await handle.sync()
      },
      close: () => handle.close(),
    }
  },
  plantTree,
  describeTree,
  plantHostileTree,
  digestTree: (directory) => digestOf(directory),
  layersAt: async (path) => (await ownMounts()).filter((entry) => entry.mountPoint === path).length,
  bindAgain: async (path) => void (await exec.run(['mount', '--bind', path, path])),
  mountOther: async (path) => {
    await mkdir(path)
    await exec.run(['mount', '-t', 'tmpfs', 'tmpfs', path])
    return async () => void (await exec.run(['umount', path]))
  },
  pipe: async (sending, receiving, options) => {
    const quiet = options?.cut === true ? 'ignore' : 'inherit'
    const receive = exec.spawn(receiving, ['pipe', 'ignore', quiet])
    const send = exec.spawn(sending, ['ignore', 'pipe', quiet])
    const ends = Promise.all([once(send, 'exit'), once(receive, 'exit')])
    if (send.stdout === null || receive.stdin === null) throw new Error('no pipes')
    // A receiver that ends early is told by its exit status.
    receive.stdin.on('error', () => {})
    let bytes = 0
    if (options?.cut === true) {
      for await (const chunk of send.stdout) {
        receive.stdin.end(chunk)
        break
      }
      send.kill('SIGKILL')
    } else {
      send.stdout.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      send.stdout.pipe(receive.stdin)
    }
    return { codes: (await ends).map(([code]) => code as number | null), bytes }
  },
  cutOff: async (sending, receiving, after) => {
    const receive = exec.spawn(receiving, ['pipe', 'ignore', 'ignore'])
    const send = exec.spawn(sending, ['ignore', 'pipe', 'ignore'])
    const { stdin } = receive
    const { stdout } = send
    if (stdin === null || stdout === null) throw new Error('no pipes')
    const ends = Promise.all([once(send, 'exit'), once(receive, 'exit')])
    stdin.on('error', () => {})
    let bytes = 0
    for await (const chunk of stdout) {
      if (!stdin.write(chunk)) await once(stdin, 'drain')
      bytes += (chunk as Buffer).length
      if (bytes >= after) break
    }
    receive.kill('SIGKILL')
    send.kill('SIGKILL')
    await ends
  },
}
