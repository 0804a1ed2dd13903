import { closeSync, openSync } from 'node:fs'
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, test } from 'vitest'
import { receiveBlocks } from '../../../src/backends/block/stream/receive.ts'
import { sendBlocks } from '../../../src/backends/block/stream/send.ts'
import { Input, Output } from '../../../src/lib/descriptor-io.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const mib = 2 ** 20
const size = 8 * mib
let at: (name: string) => string
beforeEach(async () => {
  const directory = await temporaryDirectory()
  at = (name) => join(directory, name)
})

/** Bytes that tell where they belong. */
const numbered = (from: number, length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: length / 4 }, (_, index) => from + index * 4 + 1).buffer)

/** A sparse file with these pieces in it. */
const device = async (name: string, pieces: readonly (readonly [number, Buffer])[], bytes = size): Promise<string> => {
  await writeFile(at(name), '')
  await truncate(at(name), bytes)
  const handle = await open(at(name), 'r+')
  for (const [offset, piece] of pieces) await handle.write(piece, 0, piece.length, offset)
  await handle.sync()
  await handle.close()
  return at(name)
}

const send = async (path: string, basePath: string | null = null): Promise<Buffer> => {
  const fd = openSync(at('stream'), 'w')
  const head = {
    streamUuid: 'new',
    baseUuid: basePath === null ? null : 'old',
    sizeBytes: (await stat(path)).size,
    fileSystem: 'ext4' as const,
  }
  await sendBlocks({ head, path, basePath, ranges: { by: 'extents', shares: false } }, new Output(fd)).finally(() =>
    closeSync(fd),
  )
  return readFile(at('stream'))
}

const receive = async (stream: Buffer, path: string, baseUuid: string | null = null): Promise<void> => {
  await writeFile(at('stream'), stream)
  const fd = openSync(at('stream'), 'r')
  const order = { path, baseUuid, proofPath: at('proof'), sizing: { by: 'truncate' as const } }
  await receiveBlocks(order, new Input(fd)).finally(() => closeSync(fd))
}

const isProved = () =>
  readFile(at('proof')).then(
    () => true,
    () => false,
  )

test('whole: the same bytes, holes elided on the way and on disk', async () => {
  const sent = await device('sent', [
    [0, numbered(0, 4096)],
    [3 * mib - 4096, numbered(3, 2 * mib)],
    [size - 4096, numbered(9, 4096)],
  ])
  const stream = await send(sent)
  expect(stream.length).toBeLessThan(2 * mib + 3 * 4096)
  await receive(stream, await device('received', [], 0))
  expect((await readFile(at('received'))).equals(await readFile(sent))).toBe(true)
  expect((await stat(at('received'))).blocks * 512).toBeLessThan(3 * mib)
  expect(JSON.parse(await readFile(at('proof'), 'utf8'))).toMatchObject({ streamUuid: 'new', sizeBytes: size })
})

/** Reads what it is given as late as it may, as a full pipe does. */
class LateOutput extends Output {
  readonly #pieces: Buffer[] = []
  #late: Promise<void> = Promise.resolve()

  constructor() {
    super(-1)
  }

  override async write(bytes: Buffer): Promise<void> {
    await this.#late
    this.#late = sleep(20).then(() => void this.#pieces.push(Buffer.from(bytes)))
  }

  override end(): Promise<void> {
    return this.#late
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }
}

test('what waits to be written is not written over, also when pieces between have not changed', async () => {
  const old = await device('old', [[0, numbered(0, 7 * mib)]])
  const changed = [0, 2, 3, 5].map((piece) => [piece * mib, numbered(piece + 100, mib)] as const)
  const sent = await device('sent', [[0, numbered(0, 7 * mib)], ...changed])
  const output = new LateOutput()
  const head = { streamUuid: 'new', baseUuid: 'old', sizeBytes: size, fileSystem: 'ext4' as const }
  await sendBlocks({ head, path: sent, basePath: old, ranges: { by: 'extents', shares: false } }, output)
  await receive(output.bytes, old, 'old')
  expect((await readFile(old)).equals(await readFile(sent))).toBe(true)
})

test('upon a base: only what differs, what became zero, and another size', async () => {
  const old = await device('old', [[0, numbered(0, 4 * mib)]])
  const copy = await device('copy', [[0, numbered(0, 4 * mib)]])
  const now = await device(
    'now',
    [
      [0, numbered(0, 4 * mib)],
      [4096, numbered(77, 4096)],
      [mib, Buffer.alloc(mib)],
      [9 * mib, numbered(5, 8192)],
    ],
    10 * mib,
  )
  const stream = await send(now, old)
  expect(stream.length).toBeLessThan(16_384)
  await receive(stream, copy, 'old')
  expect((await readFile(copy)).equals(await readFile(now))).toBe(true)
})

test('nothing but zeros, and nothing at all', async () => {
  await receive(await send(await device('zeros', [])), await device('received', [], 0))
  expect((await readFile(at('received'))).equals(Buffer.alloc(size))).toBe(true)
  await receive(await send(await device('empty', [], 0)), await device('received', [], 0))
  expect((await stat(at('received'))).size).toBe(0)
})

test('upon another base, or none: refused, nothing written', async () => {
  const old = await device('old', [[0, numbered(0, mib)]])
  const stream = await send(await device('now', [[0, numbered(4, mib)]]), old)
  for (const baseUuid of [null, 'other']) {
    const target = await device('target', [])
    await expect(receive(stream, target, baseUuid)).rejects.toThrow('goes upon old')
    expect((await readFile(target)).equals(Buffer.alloc(size))).toBe(true)
    expect(await isProved()).toBe(false)
  }
})

test('cut anywhere, damaged anywhere, or gone on after its end: no proof', async () => {
  const stream = await send(await device('sent', [[4096, numbered(0, 64 * 1024)]]))
  const cuts = [0, 1, 15, 16, 19, 60, stream.length - 65_536, stream.length - 42, stream.length - 41, stream.length - 1]
  for (const cut of cuts) {
    await expect(receive(stream.subarray(0, cut), await device('received', [], 0))).rejects.toThrow()
    expect(await isProved()).toBe(false)
  }
  for (let position = 0; position < stream.length; position += position < 300 ? 1 : 997) {
    const damaged = Buffer.from(stream)
    damaged.writeUInt8(damaged.readUInt8(position) ^ 0x40, position)
    await expect(receive(damaged, await device('received', [], 0)), `byte ${position}`).rejects.toThrow()
    expect(await isProved()).toBe(false)
  }
  const longer = Buffer.concat([stream, Buffer.from('x')])
  await expect(receive(longer, await device('received', [], 0))).rejects.toThrow('after its end')
  expect(await isProved()).toBe(false)
})
