import { once } from 'node:events'
import { closeSync, constants, openSync } from 'node:fs'
import { type FileHandle, mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { createZstdCompress, constants as zlib } from 'node:zlib'
import { Output } from '../../lib/descriptor-io.ts'
import { spawnBound } from '../../lib/spawn.ts'
import { changesIn } from './changes.ts'
import { type BatchOptions, formatVersion, frame, jsonFrame } from './frames.ts'
import { prove } from './proof.ts'
import { blockBytesFor, writeBatch } from './rsync.ts'
import { runRsync } from './run-rsync.ts'
import { Stalled, unlessStalled } from './stall.ts'

export interface SendOrder {
  readonly identity: string
  readonly baseIdentity: string | null
  /** What is sent, read-only, and what the target has of it; null: nothing. */
  readonly top: string
  readonly base: string | null
  /** By this host's clock. */
  readonly baseTakenMs: number
}

/** Quick; it takes the zeros of sparse files and what is alike in rsync's own bytes. */
const level = 1

/** Writes the stream to the descriptor. @throws Error */
export const sendTree = async (order: SendOrder, fd: number): Promise<void> => {
  const place = await mkdtemp(join(tmpdir(), 'drover-tree-'))
  try {
    const output = new Output(fd)
    const zstd = createZstdCompress({ params: { [zlib.ZSTD_c_compressionLevel]: level } })
    await pipeline(Readable.from(frames(order, place), { objectMode: false }), zstd, async (packed) => {
      for await (const piece of packed) await output.write(piece as Buffer)
      await output.end()
    })
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

async function* frames({ identity, baseIdentity, ...order }: SendOrder, place: string): AsyncGenerator<Buffer> {
  const { touched, hidesFromTimes, breaksLinks, largestBytes } = changesIn(order.top, order.base, order.baseTakenMs)
  const options: BatchOptions = {
    inPlace: !breaksLinks,
    // Nor does rsync part names whose files have come to be two and look alike.
    ignoreTimes: hidesFromTimes || breaksLinks,
    blockBytes: blockBytesFor(largestBytes),
  }
  yield* jsonFrame('head', { version: formatVersion, identity, baseIdentity, options })
  const base = order.base ?? join(place, 'nothing')
  if (order.base === null) await mkdir(base)
  for await (const piece of batch(order.top, base, place, options)) yield* frame('batch', piece)
  yield* jsonFrame('proof', prove(order.top, touched))
  yield* frame('end')
}

/** rsync writes its batch to a file only, and a note of its own beside it: to a pipe that has a name, in a place of ours. */
async function* batch(top: string, base: string, place: string, options: BatchOptions): AsyncGenerator<Buffer> {
  const path = join(place, 'batch')
  await mkfifo(path)
  const rsync = runRsync(writeBatch(top, base, path, options), 'ignore')
  const reader = await openBeside(path, rsync.ended)
  let isStalled = false
  try {
    // Each piece gets a buffer of its own: it may wait further on.
    for (;;) {
      const piece = reader.read(Buffer.allocUnsafe(pieceBytes), 0, pieceBytes, null)
      const { bytesRead, buffer } = await unlessStalled(rsync, piece, 'gave nothing of what changed')
      if (bytesRead === 0) break
      yield buffer.subarray(0, bytesRead)
    }
  } catch (error) {
    isStalled = error instanceof Stalled
    throw error
  } finally {
    // Closing waits for reads; one from a process that cannot be killed, its disk hanging, has no end.
    if (!isStalled) await reader.close()
  }
  await unlessStalled(rsync, rsync.ended, 'had given all, did not end')
}

const pieceBytes = 256 * 1024

const mkfifo = async (path: string): Promise<void> => {
  const [code] = await once(spawnBound(['mkfifo', '-m', '600', path], ['ignore', 'ignore', 'inherit']), 'close')
  if (code !== 0) throw new Error(`mkfifo ${path} ended with exit status ${code}`)
}

/** Opening waits for a writer; one that ended without having opened it is stood in for. */
const openBeside = async (path: string, ended: Promise<void>): Promise<FileHandle> => {
  const opening = open(path, 'r')
  let isOpen = false
  const standIn = async () => {
    while (!isOpen) {
      try {
        closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK))
      } catch {
        // It does not wait yet.
      }
      await setTimeout(10)
    }
  }
  ended.then(standIn, standIn)
  return opening.finally(() => {
    isOpen = true
  })
}
