import { mkdir, readdir } from 'node:fs/promises'
import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import { isId, type VolumeId, volumeId } from '../domain/ids.ts'
import { dropHalfWritten, isErrno, readIfExists, syncDirectory, writeJsonDurably } from '../lib/files.ts'

/** Where records lie on a pool that is a directory. */
export interface RecordPlaces {
  readonly volumes: string
  volume(id: VolumeId): string
  record(id: VolumeId): string
}

/** volume.json beside the data. What cannot be understood is foreign: reported, never touched. */
export class Records {
  readonly #layout: RecordPlaces

  constructor(layout: RecordPlaces) {
    this.#layout = layout
  }

  /** Records that a crash left half written go; before anything is written. */
  async tidy(): Promise<void> {
    const names = await readdir(this.#layout.volumes)
    for (const name of names.filter(isId)) await dropHalfWritten(this.#layout.volume(volumeId(name)))
  }

  async list(): Promise<{ records: DatasetRecord[]; foreign: string[] }> {
    const names = (await readdir(this.#layout.volumes)).sort()
    const read = await Promise.all(
      names.map(async (name) => {
        if (!isId(name)) return name
        try {
          return (await this.read(volumeId(name))) ?? name
        } catch (error) {
          if (error instanceof DroverError || isErrno(error, 'ENOTDIR', 'EISDIR')) return name
          throw error
        }
      }),
    )
    return {
      records: read.filter((item) => typeof item !== 'string'),
      foreign: read.filter((item) => typeof item === 'string'),
    }
  }

  async read(id: VolumeId): Promise<DatasetRecord | null> {
    const path = this.#layout.record(id)
    const text = await readIfExists(path)
    if (text === null) return null
    const problem = (what: string, cause?: unknown) =>
      new DroverError('DATASET_FOREIGN', `${path} ${what}; it is left alone`, { cause })
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (error) {
      throw problem('is not readable', error)
    }
    if (typeof value !== 'object' || value === null || !('formatVersion' in value)) throw problem('is not a record')
    if (value.formatVersion !== 1) {
      throw problem(`has format ${JSON.stringify(value.formatVersion)}, newer than this vold knows`)
    }
    if (!isRecord(value) || value.volumeId !== id) throw problem('is not the record of this volume')
    return value
  }

  async write(record: DatasetRecord): Promise<void> {
    if ((await mkdir(this.#layout.volume(record.volumeId), { recursive: true, mode: 0o700 })) !== undefined) {
      await syncDirectory(this.#layout.volumes)
    }
    await writeJsonDurably(this.#layout.record(record.volumeId), record)
  }
}

/** Drover wrote it whole or not at all, so the fields that steer ownership stand for the rest. */
export const isRecord = (value: unknown): value is DatasetRecord =>
  typeof value === 'object' &&
  value !== null &&
  'volumeId' in value &&
  'hostId' in value &&
  'pool' in value &&
  'role' in value &&
  typeof value.role === 'string' &&
  'epoch' in value &&
  Number.isSafeInteger(value.epoch) &&
  'seen' in value &&
  Number.isSafeInteger(value.seen) &&
  'snapshots' in value &&
  Array.isArray(value.snapshots)
