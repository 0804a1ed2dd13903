import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../../../domain/errors.ts'
import { dropHalfWritten, readIfExists, syncDirectory, writeJsonDurably } from '../../../../lib/files.ts'
import type { Seal } from '../../device.ts'

/**
 * What a device's image is. `making`: nothing that counts. `open`: it is being written, upon the image of `base`; with a seal it has been, and nothing
 * else was since. `whole`: for as long as the seal is unbroken it holds what the snapshot holds.
 */
export type ImageNote = { readonly device: string } & (
  | { readonly state: 'making' }
  | { readonly state: 'open'; readonly base: string | null; readonly seal?: Seal }
  | { readonly state: 'whole'; readonly snapshotId: string; readonly seal: Seal }
)

export type WholeImage = Extract<ImageNote, { readonly state: 'whole' }>
export type OpenImage = Extract<ImageNote, { readonly state: 'open' }>

/** A note for each image, written before there is one and dropped after it: a file that has none was made by somebody else. */
export class ImageNotes {
  readonly #directory: string

  constructor(home: string) {
    this.#directory = join(home, 'images')
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    await dropHalfWritten(this.#directory)
  }

  /** @throws DATASET_FOREIGN */
  async read(device: string): Promise<ImageNote | null> {
    const path = this.#path(device)
    const text = await readIfExists(path)
    if (text === null) return null
    try {
      const note: unknown = JSON.parse(text)
      if (isImageNote(note, device)) return note
    } catch {
      // Said below.
    }
    throw new DroverError('DATASET_FOREIGN', `${path} is no note of Drover's; it is left alone, with its image`)
  }

  write(note: ImageNote): Promise<void> {
    return writeJsonDurably(this.#path(note.device), note)
  }

  async drop(device: string): Promise<void> {
    await rm(this.#path(device), { force: true })
    await syncDirectory(this.#directory)
  }

  /** What is no note of Drover's is left out. */
  async all(): Promise<ImageNote[]> {
    const found: ImageNote[] = []
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith('.json')) continue
      const note = await this.read(name.slice(0, -'.json'.length)).catch(() => null)
      if (note !== null) found.push(note)
    }
    return found
  }

  #path(device: string): string {
    return join(this.#directory, `${device}.json`)
  }
}

const isImageNote = (value: unknown, device: string): value is ImageNote =>
  typeof value === 'object' && value !== null && 'device' in value && value.device === device && 'state' in value
