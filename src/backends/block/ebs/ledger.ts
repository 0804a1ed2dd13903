import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../../domain/errors.ts'
import { dropHalfWritten, readIfExists, syncDirectory, writeJsonDurably } from '../../../lib/files.ts'
import type { VolumePerformance } from './profiles.ts'
import type { Tags } from './tags.ts'
import type { WriteCounts } from './write-counts.ts'

/** Everything of a CreateVolume that must be the same when it is asked again with the same token. */
export interface VolumeRequest extends VolumePerformance {
  readonly zone: string
  readonly gib: number
  readonly snapshotId: string | null
  readonly kmsKeyId: string | null
  readonly tags: Tags
}

export interface LedgerVolume {
  readonly token: string
  readonly request: VolumeRequest
  /** Null: asked for, and no answer was noted. */
  readonly volumeId: string | null
  /** Milliseconds since 1970. */
  readonly askedAt: number
}

export interface LedgerSnapshot {
  readonly snapshotId: string | null
  readonly askedAt: number
  /** In its tag of that name. Absent: of an earlier version. */
  readonly request?: string
  /** Another host made it, for this device, and keeps it: nothing is removed here but the note. Absent: it is this host's own. */
  readonly madeAs?: string
}

/** What a device is made of in the cloud. */
export interface Entry {
  readonly device: string
  /** 0: not known yet, and nothing made. */
  readonly sizeBytes: number
  /** A sealed one is its snapshot; its volume then is for looking at it, and can be dropped. */
  readonly volume: LedgerVolume | null
  readonly snapshot: LedgerSnapshot | null
  /** What the snapshot was taken of, and what the kernel had counted of writes to that before. Absent: not known, or received. */
  readonly takenOf?: { readonly device: string; readonly counts: WriteCounts }
  /** Null: not sealed. */
  readonly sealMark: number | null
  readonly epoch: number
  /** It is for a stream that goes upon this snapshot, or upon nothing. Absent: it is not for one, or held something from the beginning. */
  readonly arrivesUpon?: { readonly snapshotId: string; readonly sizeBytes: number } | null
  /** The tags are to follow to `epoch`, and no answer said that they have; absent: they have. */
  readonly isTagDue?: boolean
  /** On its way to another host, or from one: who removes it here removes this note, and leaves the volume alone. */
  readonly passing?: 'leaving' | 'arriving'
  /** The instance for which it was let go last: the only one that it may ever be taken from, and by an operator's word alone. */
  readonly handedTo?: string
  /** Of what is arriving: since then an attach may have been asked for, which describes need not show yet. Absent: none was. */
  readonly takenAt?: number
  /** A detach was begun that may still be under way: what the kernel shows of it may go at any moment. */
  readonly isGivenUp?: true
}

/**
 * Devices and their ids in the cloud, a file each, written before anything is asked of the cloud and after it has answered: describes lag
 * behind, and what was asked for before a crash must be found again.
 */
export class Ledger {
  readonly #directory: string

  constructor(home: string) {
    this.#directory = join(home, 'devices')
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    await dropHalfWritten(this.#directory)
  }

  async read(device: string): Promise<Entry | null> {
    const path = this.#path(device)
    const text = await readIfExists(path)
    if (text === null) return null
    try {
      const entry: unknown = JSON.parse(text)
      if (isEntry(entry, device)) return entry
    } catch {
      // Said below.
    }
    throw new DroverError(
      'DATASET_FOREIGN',
      `${path} is no note of Drover's; it is left alone, with what it may be about`,
    )
  }

  write(entry: Entry): Promise<void> {
    return writeJsonDurably(this.#path(entry.device), entry)
  }

  async drop(device: string): Promise<void> {
    await rm(this.#path(device), { force: true })
    await syncDirectory(this.#directory)
  }

  /** What is no note of Drover's is left out. */
  async all(): Promise<Entry[]> {
    const found: Entry[] = []
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith('.json')) continue
      const entry = await this.read(name.slice(0, -'.json'.length)).catch(() => null)
      if (entry !== null) found.push(entry)
    }
    return found
  }

  #path(device: string): string {
    return join(this.#directory, `${device}.json`)
  }
}

export const isEntry = (value: unknown, device: string): value is Entry =>
  typeof value === 'object' && value !== null && 'device' in value && value.device === device && 'sealMark' in value
