import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { isErrno, readIfExists, syncDirectory, writeJsonDurably } from '../../lib/files.ts'
import type { Reserve } from '../reserve.ts'
import type { Layout } from './layout.ts'

const deviceShape = /^[0-9a-z]{26}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Never given twice; whose it is stands in it, so that a command under way can be told from its arguments. */
export const newDevice = (id: VolumeId): string => `${id}.${randomUUID()}`

/** The note at the path; null: none. @throws DATASET_FOREIGN when it is not one that Drover wrote */
export const readNote = async <N extends { readonly device: string }>(path: string): Promise<N | null> => {
  const text = await readIfExists(path)
  if (text === null) return null
  const note = parseNote(text)
  if (note !== null) return note as N
  throw new DroverError(
    'DATASET_FOREIGN',
    `${path} is no note of Drover's; it is left alone, with what it may be about`,
  )
}

/** Null: not one of ours. */
export const parseNote = (text: string): { device: string } | null => {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('device' in value)) return null
    return typeof value.device === 'string' && deviceShape.test(value.device)
      ? { ...value, device: value.device }
      : null
  } catch {
    return null
  }
}

/** Names, without their ending, of the notes below; none when there is no such directory. */
export const notesIn = async (directory: string): Promise<string[]> => {
  try {
    return (await readdir(directory)).filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/**
 * A note is written under making/ before its device is made, and moved to its place when the device is whole: what stands in its place is
 * never half made, and no device is without a note.
 */
export class Notes {
  readonly #layout: Layout
  readonly #reserve: Reserve

  constructor(layout: Layout, reserve: Reserve) {
    this.#layout = layout
    this.#reserve = reserve
  }

  /** Never makes the volume's own directory. @throws DATASET_MISSING */
  async begin(id: VolumeId, what: string, note: { readonly device: string }): Promise<string> {
    await this.#directory(id, this.#layout.makings(id))
    const path = this.#layout.making(id, what)
    await this.write(path, note)
    return path
  }

  write(path: string, note: object): Promise<void> {
    return this.#reserve.spend(() => writeJsonDurably(path, note))
  }

  async commit(id: VolumeId, making: string, path: string): Promise<void> {
    await this.#directory(id, dirname(path))
    await rename(making, path)
    await syncDirectory(dirname(path))
    await syncDirectory(dirname(making))
  }

  /** Directories that a crash may leave empty. */
  async #directory(id: VolumeId, path: string): Promise<void> {
    try {
      await mkdir(path, { mode: 0o700 })
      await syncDirectory(this.#layout.volume(id))
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return
      if (isErrno(error, 'ENOENT')) throw missing(this.#layout.volume(id))
      throw error
    }
  }

  async directory(id: VolumeId, path: string): Promise<void> {
    await this.#directory(id, path)
  }

  drop(path: string): Promise<void> {
    return dropNote(path)
  }
}

export const dropNote = async (path: string): Promise<void> => {
  await rm(path, { force: true })
  await syncDirectory(dirname(path)).catch((error: unknown) => {
    if (!isErrno(error, 'ENOENT')) throw error
  })
}

export const missing = (path: string): DroverError =>
  new DroverError('DATASET_MISSING', `there is no dataset at ${path}; nothing was made in its place`)

/** Every device that a note in this directory, or below it, names. */
export const devicesNotedIn = async (directory: string): Promise<string[]> => {
  const found: string[] = []
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.json')) continue
    const note = parseNote((await readIfExists(join(entry.parentPath, entry.name))) ?? '')
    if (note !== null) found.push(note.device)
  }
  return found
}
