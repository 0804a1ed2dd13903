import { readFile } from 'node:fs/promises'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { isErrno } from '../../lib/files.ts'
import type { Argv, ResumingFacet } from '../backend.ts'
import type { PartialNote, SettlingProvider, SnapshotNote } from './device.ts'
import type { Layout } from './layout.ts'
import { type Notes, readNote } from './notes.ts'
import type { Snapshots } from './snapshots.ts'
import type { Arrived } from './stream/arrived.ts'
import { isStreamIdentity } from './stream/format.ts'
import { type Progress, readProgress } from './stream/progress.ts'

interface Parts {
  readonly layout: Layout
  readonly devices: SettlingProvider
  readonly notes: Notes
  readonly snapshots: Snapshots
  /** The command that sends what the receiver lacks. */
  send(id: VolumeId, snapshot: string, base: string | null, resumedAt: number): Promise<Argv>
  receive(
    of: { id: VolumeId; partial: string; device: string; baseUuid: string | null },
    arrived: Arrived,
  ): Promise<Argv>
  find(id: VolumeId, name: string): Promise<SnapshotNote>
}

/** Where the receiver goes on, of which stream. */
interface Token {
  readonly at: number
  readonly streamUuid: string
  readonly baseUuid: string | null
}

/**
 * A stream goes on after the last extent that was written. That only says where: what is there before it is read again from the disk by the
 * receiver, and from its snapshot by the sender, and both count it into the digest at the stream's end (stream/arrived.ts). What is not sure
 * begins anew.
 */
export class Resuming implements ResumingFacet {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async resumeReceive(
    id: VolumeId,
    partial: string,
    stream: { streamUuid: string; baseUuid: string | null },
  ): Promise<{ token: string; argv: Argv } | null> {
    const { layout, devices, notes, snapshots } = this.#parts
    const [note, progress] = [
      await readNote<PartialNote>(layout.partial(id, partial)),
      await readProgress(layout.progress(id, partial)),
    ]
    if (note === null || progress === null || !isOf(progress, note, stream) || progress.at === 0) return null
    if (await isStillThere(progress, layout.received(id, partial))) return null
    const { device } = note
    const { at, baseUuid, sizeBytes } = progress
    if ((await devices.sizeBytes(device)) !== (await devices.whole(sizeBytes))) return null
    if (await devices.isSealed(device)) return null
    const base = baseUuid === null ? null : (await snapshots.all(id)).find((each) => each.note.streamUuid === baseUuid)
    if (base === undefined || (base !== null && !(await snapshots.isWhole(base.note)))) return null
    await notes.drop(layout.received(id, partial))
    await devices.settle(device)
    const arrived: Arrived = {
      at,
      basePath: base === null ? null : await devices.path(base.note.device),
      ranges: await devices.ranges(device, base?.note.device ?? null),
    }
    const token: Token = { at, ...stream }
    return {
      token: JSON.stringify(token),
      argv: await this.#parts.receive({ id, partial, device, baseUuid }, arrived),
    }
  }

  async resumeSend(id: VolumeId, snapshot: string, base: string | null, token: string): Promise<Argv> {
    const note = await this.#parts.find(id, snapshot)
    const baseNote = base === null ? null : await this.#parts.find(id, base)
    const told = readToken(token)
    if (told?.streamUuid !== note.streamUuid || told.baseUuid !== (baseNote?.streamUuid ?? null)) {
      throw new DroverError('STREAM_FAILED', `the receiver goes on with another stream than that of ${snapshot}`)
    }
    return this.#parts.send(id, snapshot, base, told.at)
  }
}

const isOf = (progress: Progress, { device }: PartialNote, stream: Omit<Token, 'at'>): boolean =>
  progress.device === device && progress.streamUuid === stream.streamUuid && progress.baseUuid === stream.baseUuid

/** The process that wrote it, and may write on: told by its arguments, for its number may be another's by now. */
const isStillThere = async ({ pid }: Progress, argument: string): Promise<boolean> => {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes(argument)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return false
    throw error
  }
}

const readToken = (text: string): Token | null => {
  try {
    const value: unknown = JSON.parse(text)
    return isToken(value) ? value : null
  } catch {
    return null
  }
}

const isToken = (value: unknown): value is Token =>
  isStreamIdentity(value) && 'at' in value && Number.isSafeInteger(value.at)
