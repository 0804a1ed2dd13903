import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { changesIn } from '../../../src/backends/tree/changes.ts'
import { frame, framesIn, jsonFrame } from '../../../src/backends/tree/frames.ts'
import { compareWith, prove } from '../../../src/backends/tree/proof.ts'
import { blockBytesFor } from '../../../src/backends/tree/rsync.ts'
import { runRsync } from '../../../src/backends/tree/run-rsync.ts'
import { activityOf, unlessStalled } from '../../../src/backends/tree/stall.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const plant = async (): Promise<string> => {
  const top = await temporaryDirectory()
  mkdirSync(join(top, 'below'))
  writeFileSync(join(top, 'below/one'), 'one')
  writeFileSync(join(top, 'two'), 'two')
  return top
}

test('a proof holds for the tree it was made of, and for no other', async () => {
  const top = await plant()
  const proof = prove(top, null)
  expect(proof.entries).toBe(4)
  compareWith(top, proof)
  chmodSync(join(top, 'two'), 0o600)
  expect(() => compareWith(top, proof)).toThrow('it differs at or after .')
  const modes = prove(top, null)
  writeFileSync(join(top, 'three'), '')
  expect(() => compareWith(top, modes)).toThrow('what was written is not what was sent')
})

test('a proof reads the bytes of what was touched, and traits of everything', async () => {
  const top = await plant()
  const proof = prove(top, new Set([3]))
  expect(proof.read).toEqual([3])
  compareWith(top, proof)
  writeFileSync(join(top, 'two'), 'TWO')
  expect(() => compareWith(top, proof)).toThrow('what was written is not what was sent')
})

test('changes: what is new, what hides from size and time, and a split link', async () => {
  const [base, top] = [await plant(), await plant()]
  expect(changesIn(top, null, 0)).toMatchObject({ touched: null, hidesFromTimes: false, breaksLinks: false })
  linkSync(join(base, 'two'), join(base, 'link'))
  const { touched, breaksLinks, largestBytes } = changesIn(top, base, 0)
  expect(touched?.has(3)).toBe(true)
  expect(breaksLinks).toBe(true)
  expect(largestBytes).toBe(3n)
})

test('frames come out as they went in, whatever pieces they arrive in; an end too soon is an error', async () => {
  const head = {
    version: 1,
    identity: 'i',
    baseIdentity: null,
    options: { inPlace: true, ignoreTimes: false, blockBytes: 1 },
  }
  const all = Buffer.concat([...jsonFrame('head', head), ...frame('batch', Buffer.alloc(5000, 7)), ...frame('end')])
  for (const size of [1, 3, 4096, all.length]) {
    const seen: [string, number][] = []
    for await (const { kind, bytes } of framesIn(pieces(all, size))) seen.push([kind, bytes.length])
    expect(seen).toEqual([
      ['head', JSON.stringify(head).length],
      ['batch', 5000],
      ['end', 0],
    ])
  }
  const read = async (bytes: Buffer) => {
    for await (const _ of framesIn(pieces(bytes, 100)));
  }
  await expect(read(all.subarray(0, -1))).rejects.toThrow('ended too soon')
  await expect(read(Buffer.concat([all, all]))).rejects.toThrow('goes on after its end')
  await expect(read(Buffer.alloc(100, 9))).rejects.toThrow('this is no tree stream')
})

test('blocks are pages until there would be too many of them', () => {
  expect(blockBytesFor(0n)).toBe(4096)
  expect(blockBytesFor(2n ** 34n)).toBe(4096)
  expect(blockBytesFor(2n ** 35n)).toBe(8192)
  expect(blockBytesFor(2n ** 60n)).toBe(128 * 1024)
})

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

test('an rsync that stands still is ended, and it is told what it did not do', async () => {
  const rsync = runRsync(['sleep', '1000'], 'ignore')
  const never = new Promise<void>(() => {})
  await expect(unlessStalled(rsync, never, 'took nothing', { limitMs: 10 })).rejects.toThrow(
    'rsync took nothing for 0.01 s and was ended; see the disk of this pool',
  )
  await expect(rsync.ended).rejects.toThrow('SIGKILL')
})

test('one that works, is through with it, or fails by itself, is not', async () => {
  const rsync = runRsync(['sleep', '1000'], 'ignore')
  let looks = 0
  const done = Promise.withResolvers<number>()
  const activity = () => {
    looks += 1
    if (looks === 5) done.resolve(7)
    return String(looks)
  }
  expect(await unlessStalled(rsync, done.promise, 'took nothing', { limitMs: 1, activity })).toBe(7)
  await expect(unlessStalled(rsync, Promise.reject(new Error('EIO')), 'took nothing')).rejects.toThrow('EIO')
  expect(rsync.child.signalCode).toBeNull()
  rsync.child.kill('SIGKILL')
  await expect(rsync.ended).rejects.toThrow('SIGKILL')
})

test('what a process and those that it has started do is seen', async () => {
  const child = spawn('sh', ['-c', 'cat >/dev/null; true'], { stdio: ['pipe', 'ignore', 'inherit'] })
  try {
    const seen = new Set<string>()
    while (seen.size < 3) {
      child.stdin.write('more')
      seen.add(activityOf(child.pid))
      await setTimeout(1)
    }
  } finally {
    child.stdin.end()
    await once(child, 'close')
  }
  expect(activityOf(child.pid)).toBe('')
})
