import { readFile, stat } from 'node:fs/promises'
import { diskFiles, type Files } from './files.ts'
import { type DatasetMark, type DatasetMount, type DatasetOpener, mountsOf, openersOf } from './mount-users.ts'

/** What `vold` reads of the machine it runs on and keeps there; injected, so that a simulation can be the machine. */
export interface Machine {
  readonly files: Files
  /** Another one after every boot. */
  bootId(): Promise<string>
  /** Every mount of the dataset in every mount namespace. */
  mountsOf(mark: DatasetMark): Promise<DatasetMount[]>
  /** Every process that has something of the dataset open. */
  openersOf(mark: DatasetMark): Promise<DatasetOpener[]>
  /** @throws ENOENT */
  isDirectory(path: string): Promise<boolean>
}

export const thisMachine: Machine = {
  files: diskFiles,
  bootId: async () => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
  mountsOf,
  openersOf,
  isDirectory: async (path) => (await stat(path)).isDirectory(),
}
