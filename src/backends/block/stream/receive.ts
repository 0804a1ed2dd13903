import { type FileHandle, open, truncate } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { Input } from '../../../lib/descriptor-io.ts'
import { writeJsonDurably } from '../../../lib/files.ts'
import type { ArrivalPlace, Sizing, SnapshotDraft } from '../device.ts'
import { type Arrived, readArrived } from './arrived.ts'
import { askForSize } from './ask-size.ts'
import {
  dataHeadBytes,
  endBytes,
  isStreamIdentity,
  kind,
  longestExtent,
  longestHead,
  magic,
  type StreamHead,
  Tally,
  zerosBytes,
} from './format.ts'
import { ProgressNotes, type ProgressPaths } from './progress.ts'
import { fileSink, type Sink } from './sink.ts'

export interface ReceiveOrder {
  /** Holds the base's bytes, or is empty. */
  readonly path: string
  /** What the device there was cloned from; null: it is blank. */
  readonly baseUuid: string | null
  /** Written last, when the stream's end has proved it: the head. */
  readonly proofPath: string
  readonly sizing: Sizing
  /** Where it is noted how far the stream has arrived; absent: nowhere. */
  readonly progress?: ProgressPaths & { readonly device: string }
  /** What an earlier process has received; absent: nothing. */
  readonly arrived?: Arrived
}

/** @throws Error when the stream is not whole, or not for this device */
export const receiveBlocks = async (order: ReceiveOrder, input: Input): Promise<void> => {
  const tally = new Tally()
  const head = await readHead(input, tally)
  if (head.baseUuid !== order.baseUuid) {
    throw new Error(
      `the stream goes upon ${head.baseUuid ?? 'nothing'}, and the device holds ${order.baseUuid ?? 'nothing'}`,
    )
  }
  if (head.resumedAt !== order.arrived?.at) {
    throw new Error(`the stream goes on at ${head.resumedAt ?? 0}, and what arrived ends at ${order.arrived?.at ?? 0}`)
  }
  const place = await placeFor(order, head.sizeBytes)
  if ('path' in place) await intoDevice(order, input, tally, head, place.path)
  else await intoDraft(input, tally, head, place.draft)
  await writeJsonDurably(order.proofPath, head)
}

/** The SDK is loaded for it: only where it is needed. */
const intoDraft = async (input: Input, tally: Tally, head: StreamHead, draft: SnapshotDraft): Promise<void> => {
  const { openDraft } = await import('../ebs/direct/open.ts')
  const writer = await openDraft(draft)
  await readExtents(input, tally, writer, head)
  await writer.end()
}

const intoDevice = async (
  order: ReceiveOrder,
  input: Input,
  tally: Tally,
  head: StreamHead,
  path: string,
): Promise<void> => {
  const file = await open(path, 'r+')
  try {
    // Noted before what arrived is read, and what lies beyond taken back: whoever would go on here as well finds that we are at it.
    const notes = await notesOf(order, head, file)
    const arrive = async () => {
      if (order.arrived !== undefined) await readArrived(order.arrived, file, head.sizeBytes, tally)
      await readExtents(input, tally, fileSink(file, notes), head)
    }
    await arrive().catch(async (error: unknown) => {
      await notes?.end().catch(() => {})
      throw error
    })
    await notes?.end()
    await file.sync()
  } finally {
    await file.close()
  }
}

const notesOf = async (
  { progress, arrived }: ReceiveOrder,
  { streamUuid, baseUuid, sizeBytes }: StreamHead,
  file: FileHandle,
): Promise<ProgressNotes | null> => {
  if (progress === undefined) return null
  const notes = new ProgressNotes(progress, { device: progress.device, streamUuid, baseUuid, sizeBytes }, file)
  if (arrived !== undefined) await notes.resume(arrived.at)
  return notes
}

const readHead = async (input: Input, tally: Tally): Promise<StreamHead> => {
  const opening = Buffer.from(await input.take(magic.length + 4))
  if (!opening.subarray(0, magic.length).equals(magic)) throw new Error('this is no stream of blocks of version 1')
  const length = opening.readUInt32LE(magic.length)
  if (length > longestHead) throw new Error(`the stream has a head of ${length} bytes`)
  const text = Buffer.from(await input.take(length))
  tally.head(Buffer.concat([opening, text]))
  const head: unknown = JSON.parse(text.toString())
  if (isHead(head)) return head
  throw new Error('the head of the stream is not understood')
}

const isHead = (value: unknown): value is StreamHead =>
  isStreamIdentity(value) &&
  'sizeBytes' in value &&
  Number.isSafeInteger(value.sizeBytes) &&
  'fileSystem' in value &&
  (value.fileSystem === 'ext4' || value.fileSystem === 'xfs') &&
  (!('resumedAt' in value) || Number.isSafeInteger(value.resumedAt))

const readExtents = async (input: Input, tally: Tally, sink: Sink, head: StreamHead): Promise<void> => {
  for (let at = head.resumedAt ?? 0; ; ) {
    const [which = 0] = await input.peek(1)
    if (which === kind.end) {
      const said = Buffer.from(await input.take(endBytes))
      if (!said.equals(tally.end())) throw new Error('the stream ended otherwise than it went: it is not whole')
      if (!(await input.isEnd())) throw new Error('the stream goes on after its end')
      return
    }
    if (which !== kind.data && which !== kind.zeros) throw new Error(`the stream has an extent of kind ${which}`)
    const start = Buffer.from(await input.take(which === kind.data ? dataHeadBytes : zerosBytes))
    const offset = Number(start.readBigUInt64LE(1))
    const length = which === kind.data ? start.readUInt32LE(9) : Number(start.readBigUInt64LE(9))
    const isSane = offset >= at && length > 0 && offset + length <= head.sizeBytes
    if (!isSane || (which === kind.data && length > longestExtent))
      throw new Error('the stream has an extent out of place')
    tally.extent(start)
    if (which === kind.zeros) await sink.zeros(offset, length)
    else {
      const bytes = await input.take(length)
      if (crc32(bytes) !== start.readUInt32LE(13)) throw new Error(`the extent at ${offset} was damaged on its way`)
      await sink.data(offset, bytes)
    }
    at = offset + length
    await sink.reached(at, length)
  }
}

const placeFor = async ({ path, sizing }: ReceiveOrder, sizeBytes: number): Promise<ArrivalPlace> => {
  if (sizing.by === 'asked') return askForSize(sizing.path, sizeBytes)
  if (sizing.by === 'truncate') await truncate(path, sizeBytes)
  else {
    // Commands of LVM are needed for it: loaded only where they are.
    const { sizeThinVolume } = await import('../lvm/thin-devices.ts')
    await sizeThinVolume(sizing, sizeBytes)
  }
  return { path }
}
