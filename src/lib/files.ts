import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Makes a rename, creation or removal in `path` survive a power cut. */
export const syncDirectory = async (path: string): Promise<void> => {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Temporary name, fsync, rename, fsync of the parent: after this returns, the text is on disk whole. */
export const writeDurably = async (path: string, text: string, mode = 0o600): Promise<void> => {
  const temporary = `${path}.tmp-${process.pid}-${sequence++}`
  try {
    const handle = await open(temporary, 'w', mode)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}
let sequence = 0

/**
 * Removes the temporary files of writes that a crash cut in two. For directories that only the caller writes to, before it does.
 * The absent directory is a success.
 */
export const dropHalfWritten = async (directory: string): Promise<void> => {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return
    throw error
  }
  for (const name of names.filter((each) => /\.tmp-\d+-\d+$/.test(each))) {
    await rm(join(directory, name), { force: true })
  }
}

export const writeJsonDurably = (path: string, value: unknown, mode = 0o600): Promise<void> =>
  writeDurably(path, `${JSON.stringify(value, null, 2)}\n`, mode)

/** The file's text, or null when there is no such file. */
export const readIfExists = async (path: string): Promise<string | null> => {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

export const ensureDirectory = async (path: string, mode = 0o700): Promise<void> => {
  await mkdir(path, { recursive: true, mode })
}

export const isErrno = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)

/** What rooms do with their small durable files; injected where a simulation is to be the disk. */
export interface Files {
  readIfExists(path: string): Promise<string | null>
  writeJsonDurably(path: string, value: unknown): Promise<void>
  ensureDirectory(path: string): Promise<void>
  /** Names in the directory. */
  list(path: string): Promise<string[]>
  /** The absent is a success. */
  remove(path: string): Promise<void>
}

export const diskFiles: Files = {
  readIfExists,
  writeJsonDurably,
  ensureDirectory,
  list: (path) => readdir(path),
  remove: (path) => rm(path, { force: true }),
}
