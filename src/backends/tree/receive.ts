import { constants, openSync, read } from 'node:fs'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { createZstdDecompress } from 'node:zlib'
import { writeJsonDurably } from '../../lib/files.ts'
import { syncFileSystem } from '../../lib/sync-file-system.ts'
import { type FrameKind, formatVersion, framesIn, type Head, type Proof } from './frames.ts'
import { compareWith } from './proof.ts'
import { readBatch } from './rsync.ts'
import { type RunningRsync, runRsync } from './run-rsync.ts'
import { unlessStalled } from './stall.ts'

export interface ReceiveOrder {
  /** A writable copy of the base, or an empty directory. */
  readonly tree: string
  readonly baseIdentity: string | null
  /** Written in the end, when the tree was found to be what was sent: a Received. */
  readonly proofPath: string
}

export interface Received {
  readonly identity: string
}

/** Reads the stream from the descriptor to its end. @throws Error */
export const receiveTree = async (order: ReceiveOrder, fd: number): Promise<void> => {
  // Opened before anything is written: it hears of every write that did not reach the disk.
  const written = openSync(order.tree, constants.O_RDONLY | constants.O_DIRECTORY)
  const unpacked = createZstdDecompress()
  const packed = Readable.from(piecesOf(fd), { objectMode: false })
  packed.on('error', (error) => unpacked.destroy(error)).pipe(unpacked)
  let head: Head | null = null
  let rsync: RunningRsync | null = null
  let isProved = false
  for await (const { kind, bytes } of framesIn(unpacked as AsyncIterable<Buffer>)) {
    if (head === null) {
      head = headOf(kind, bytes, order)
      rsync = runRsync(readBatch(order.tree, head.options), 'pipe')
    } else if (kind === 'batch' && rsync !== null) await feed(rsync, bytes)
    else if (kind === 'proof' && rsync !== null) {
      await finish(rsync)
      rsync = null
      // What is read back next is on the disk, and not only in memory on its way there.
      syncFileSystem(written)
      compareWith(order.tree, JSON.parse(bytes.toString()) as Proof)
      isProved = true
    } else if (kind !== 'end' || !isProved) throw new Error(`a frame ${kind} stands where none may be`)
  }
  if (head === null || !isProved) throw new Error('the stream holds no tree')
  await writeJsonDurably(order.proofPath, { identity: head.identity } satisfies Received)
}

const headOf = (kind: FrameKind, bytes: Buffer, order: ReceiveOrder): Head => {
  if (kind !== 'head') throw new Error('the stream does not begin as one')
  const head = JSON.parse(bytes.toString()) as Head
  if (head.version !== formatVersion) throw new Error(`tree streams of version ${head.version} are not known here`)
  if (head.baseIdentity !== order.baseIdentity) throw new Error('the stream goes upon another snapshot')
  return head
}

/** rsync ends when it knows enough, which may be before it has read the last bytes; why it ended otherwise is told by its end. */
const feed = async (rsync: RunningRsync, bytes: Buffer): Promise<void> => {
  const { stdin } = rsync.child
  if (stdin === null || !stdin.writable || stdin.write(bytes)) return
  const drained = new Promise<void>((resolve) => {
    const go = () => {
      stdin.off('drain', go)
      stdin.off('close', go)
      resolve()
    }
    stdin.on('drain', go)
    stdin.on('close', go)
  })
  await unlessStalled(rsync, drained, 'took nothing of what arrived')
  if (!stdin.writable) await unlessStalled(rsync, rsync.ended, 'did not end')
}

/** It has all it gets. Upon another base than it was written for, rsync has been seen to wait for ever. */
const finish = async (rsync: RunningRsync): Promise<void> => {
  rsync.child.stdin?.end()
  await unlessStalled(rsync, rsync.ended, 'had all it gets, did not end')
}

const readInto = promisify(read)
const pieceBytes = 256 * 1024

async function* piecesOf(fd: number): AsyncGenerator<Buffer> {
  for (;;) {
    const { bytesRead, buffer } = await readInto(fd, Buffer.allocUnsafe(pieceBytes), 0, pieceBytes, null)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}
