import { closeSync, openSync } from 'node:fs'
import { copyFile, open, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { readProgress } from '../../../src/backends/block/stream/progress.ts'
import { receiveBlocks } from '../../../src/backends/block/stream/receive.ts'
import { sendBlocks } from '../../../src/backends/block/stream/send.ts'
import { Input, Output } from '../../../src/lib/descriptor-io.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const mib = 2 ** 20
const size = 40 * mib
const ranges = { by: 'extents', shares: false } as const
let at: (name: string) => string
beforeEach(async () => {
  const directory = await temporaryDirectory()
  at = (name) => join(directory, name)
})

/** Bytes that tell where they belong, and in which generation. */
const numbered = (generation: number, length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: length / 4 }, (_, index) => generation * 2 ** 24 + index + 1).buffer)

const write = async (name: string, pieces: readonly (readonly [number, Buffer])[]): Promise<string> => {
  const handle = await open(at(name), 'r+')
  for (const [offset, piece] of pieces) await handle.write(piece, 0, piece.length, offset)
  await handle.sync()
  await handle.close()
  return at(name)
}

const device = async (name: string, pieces: readonly (readonly [number, Buffer])[]): Promise<string> => {
  await writeFile(at(name), '')
  await truncate(at(name), size)
  return write(name, pieces)
}

/** A base of data with holes, and what became of it: other data, zeros, holes that were filled. */
const baseAndNow = async () => {
  await device('base', [[0, numbered(1, 30 * mib)]])
  await copyFile(at('base'), at('now'))
  await write('now', [
    [2 * mib + 8192, numbered(2, 12 * mib)],
    [16 * mib, Buffer.alloc(3 * mib)],
    [22 * mib, numbered(3, 14 * mib)],
  ])
}

const send = async (basePath: string | null, resumedAt?: number): Promise<Buffer> => {
  const fd = openSync(at('stream'), 'w')
  const head = {
    ...{ streamUuid: 'new', baseUuid: basePath === null ? null : 'old', sizeBytes: size, fileSystem: 'ext4' as const },
    ...(resumedAt === undefined ? {} : { resumedAt }),
  }
  await sendBlocks({ head, path: at('now'), basePath, ranges }, new Output(fd)).finally(() => closeSync(fd))
  return readFile(at('stream'))
}

const paths = () => ({ path: at('progress'), markPath: at('mark') })

const receive = async (
  stream: Buffer,
  basePath: string | null,
  arrivedTo?: number,
  arrivedUpon = basePath,
): Promise<void> => {
  await writeFile(at('stream'), stream)
  const fd = openSync(at('stream'), 'r')
  const order = {
    ...{ path: at('received'), baseUuid: basePath === null ? null : 'old', proofPath: at('proof') },
    ...{ sizing: { by: 'truncate' as const }, progress: { ...paths(), device: 'd' } },
    ...(arrivedTo === undefined ? {} : { arrived: { at: arrivedTo, basePath: arrivedUpon, ranges } }),
  }
  await receiveBlocks(order, new Input(fd)).finally(() => closeSync(fd))
}

const arrivedTo = async (): Promise<number> => (await readProgress(paths()))?.at ?? 0
const isProved = () =>
  stat(at('proof')).then(
    () => true,
    () => false,
  )
const isSame = async () => (await readFile(at('received'))).equals(await readFile(at('now')))

/** Cut off so late that it is noted how far it came. */
const cutOff = async (basePath: string | null) => {
  await baseAndNow()
  if (basePath === null) await writeFile(at('received'), '')
  else await copyFile(basePath, at('received'))
  const whole = await send(basePath)
  await expect(receive(whole.subarray(0, whole.length - 5 * mib), basePath)).rejects.toThrow('too soon')
  return whole.length
}

test.each([
  ['in full', () => null],
  ['upon a base', () => at('base')],
])('%s: the rest alone, the whole proved', async (_, base) => {
  const basePath = base()
  const wholeBytes = await cutOff(basePath)
  const from = await arrivedTo()
  const rest = await send(basePath, from)
  expect(rest.length).toBeLessThan(7 * mib)
  expect(rest.length).toBeLessThan(wholeBytes / 2)
  await receive(rest, basePath, from)
  expect(await isSame()).toBe(true)
  expect(await isProved()).toBe(true)
})

test('what is no longer what arrived, anywhere before where it goes on: no proof', async () => {
  for (const offset of [3 * mib, 20 * mib]) {
    await cutOff(at('base'))
    const from = await arrivedTo()
    await write('received', [[offset, Buffer.from('y')]])
    await expect(receive(await send(at('base'), from), at('base'), from), `at ${offset}`).rejects.toThrow('not whole')
    expect(await isProved()).toBe(false)
  }
})

test('what was written beyond where it goes on is taken back, whatever it is', async () => {
  for (const basePath of [null, at('base')]) {
    await cutOff(basePath)
    const from = await arrivedTo()
    await write('received', [[38 * mib, Buffer.from('y')]])
    await receive(await send(basePath, from), basePath, from)
    expect(await isSame()).toBe(true)
  }
})

test('who goes on says so before it writes, and forgets nothing of what arrived should it not get far', async () => {
  await cutOff(at('base'))
  const from = await arrivedTo()
  const note = JSON.parse(await readFile(at('progress'), 'utf8'))
  await writeFile(at('progress'), JSON.stringify({ ...note, pid: 1 }))
  const rest = await send(at('base'), from)
  await expect(receive(rest, at('base'), from, at('nowhere'))).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await readProgress(paths())).toMatchObject({ pid: process.pid, at: from })
})

test('both ends go on at the same place, where an extent ends', async () => {
  await cutOff(at('base'))
  const from = await arrivedTo()
  await expect(receive(await send(at('base'), from), at('base'), from - mib)).rejects.toThrow('goes on at')
  await expect(receive(await send(at('base')), at('base'), from)).rejects.toThrow('goes on at')
  await expect(receive(await send(at('base'), from), at('base'))).rejects.toThrow('goes on at')
  await expect(send(at('base'), from - 4096)).rejects.toThrow('no extent ends')
  expect(await isProved()).toBe(false)
})

test('after a boot only what was synced counts, and a note that is not understood is none', async () => {
  await cutOff(null)
  const note = JSON.parse(await readFile(at('progress'), 'utf8'))
  const known = await readProgress(paths())
  expect(known?.at).toBeGreaterThan(note.syncedTo)
  await writeFile(at('progress'), JSON.stringify({ ...note, bootId: 'another' }))
  expect((await readProgress(paths()))?.at).toBe(note.syncedTo)
  await writeFile(at('progress'), JSON.stringify(note).slice(0, -20))
  expect(await readProgress(paths())).toBeNull()
})
