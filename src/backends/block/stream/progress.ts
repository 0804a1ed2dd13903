import { closeSync, openSync, writeSync } from 'node:fs'
import { type FileHandle, readFile } from 'node:fs/promises'
import { isErrno, readIfExists, writeJsonDurably } from '../../../lib/files.ts'
import { isStreamIdentity } from './format.ts'

/** Below this a stream is soon sent again, and nothing of it is noted. */
const firstBytes = 16 * 2 ** 20
const syncEveryBytes = 128 * 2 ** 20
const markEveryBytes = 2 ** 20

/** What arrives, and the device that it is written to. */
interface ArrivingStream {
  readonly device: string
  readonly streamUuid: string
  readonly baseUuid: string | null
  readonly sizeBytes: number
}

/** How far it has arrived, and who wrote it. */
export interface Progress extends ArrivingStream {
  readonly bootId: string
  readonly pid: number
  /** All extents before it are on disk. */
  readonly syncedTo: number
}

export interface ProgressPaths {
  readonly path: string
  /**
   * Eight bytes, written again and again and never synced: all extents before this have been written. What was written outlives the
   * process, but not the kernel: it counts only until the next boot.
   */
  readonly markPath: string
}

export const currentBoot = async (): Promise<string> =>
  (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()

/**
 * Notes how far the stream has arrived while it does, and has the device synced on the way, beside the stream: so a power cut costs some of
 * it, the death of a process next to nothing, and the sync at the end, for which writers wait, is a short one.
 */
export class ProgressNotes {
  readonly #paths: ProgressPaths
  readonly #of: ArrivingStream
  readonly #file: FileHandle
  readonly #mark = Buffer.alloc(8)
  #markFd: number | null = null
  #bytes = 0
  #markAt = 0
  #syncAt = firstBytes
  #running: Promise<void> | null = null
  #failure: { error: unknown } | null = null

  constructor(paths: ProgressPaths, of: ArrivingStream, file: FileHandle) {
    this.#paths = paths
    this.#of = of
    this.#file = file
  }

  /** It goes on after `at`, up to which everything is on disk. */
  async resume(at: number): Promise<void> {
    await this.#note(at)
  }

  /** Every extent before `at` has been written, the last one with so many bytes. @throws what the sync on the way said */
  async reached(at: number, bytes: number): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error
    this.#bytes += bytes
    if (this.#markFd === null && this.#bytes >= firstBytes) await this.#note(0)
    if (this.#markFd !== null && this.#bytes >= this.#markAt) {
      this.#markAt = this.#bytes + markEveryBytes
      this.#mark.writeDoubleLE(at)
      writeSync(this.#markFd, this.#mark, 0, this.#mark.length, 0)
    }
    if (this.#bytes < this.#syncAt || this.#running !== null) return
    this.#syncAt = this.#bytes + syncEveryBytes
    this.#running = this.#sync(at)
      .catch((error: unknown) => {
        this.#failure = { error }
      })
      .finally(() => {
        this.#running = null
      })
  }

  /** Nothing is noted any more when it resolves. @throws what the sync on the way said */
  async end(): Promise<void> {
    await this.#running
    if (this.#markFd !== null) closeSync(this.#markFd)
    this.#markFd = null
    if (this.#failure !== null) throw this.#failure.error
  }

  async #sync(at: number): Promise<void> {
    await this.#file.datasync()
    await this.#note(at)
  }

  /** The mark of an earlier process goes before the note says that the mark is of ours. */
  async #note(syncedTo: number): Promise<void> {
    this.#markFd ??= openSync(this.#paths.markPath, 'w', 0o600)
    const progress: Progress = { ...this.#of, bootId: await currentBoot(), pid: process.pid, syncedTo }
    await writeJsonDurably(this.#paths.path, progress)
  }
}

/** Null: nothing is known. */
export const readProgress = async ({ path, markPath }: ProgressPaths): Promise<(Progress & { at: number }) | null> => {
  const progress = parse((await readIfExists(path)) ?? '')
  if (progress === null) return null
  const at = progress.bootId === (await currentBoot()) ? await readMark(markPath) : null
  return { ...progress, at: Math.max(at ?? 0, progress.syncedTo) }
}

const readMark = async (path: string): Promise<number | null> => {
  try {
    const bytes = await readFile(path)
    return bytes.length === 8 ? bytes.readDoubleLE() : null
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

const parse = (text: string): Progress | null => {
  try {
    const value: unknown = JSON.parse(text)
    return isProgress(value) ? value : null
  } catch {
    return null
  }
}

const isProgress = (value: unknown): value is Progress =>
  isStreamIdentity(value) &&
  'device' in value &&
  typeof value.device === 'string' &&
  'sizeBytes' in value &&
  Number.isSafeInteger(value.sizeBytes) &&
  'bootId' in value &&
  typeof value.bootId === 'string' &&
  'pid' in value &&
  Number.isSafeInteger(value.pid) &&
  'syncedTo' in value &&
  Number.isSafeInteger(value.syncedTo)
