import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createBackend } from '../../src/backends/registry.ts'
import { changesIn } from '../../src/backends/tree/changes.ts'
import { receiveCommand, sendCommand } from '../../src/backends/tree/commands.ts'
import { volumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, mib, newId, raise, recordOf } from '../contract/backend-bench.ts'
import { carryTree } from '../contract/backend-tree-suite.ts'
import { realHands } from '../contract/hands.ts'
import { loopBtrfs, sh } from '../support/loop-btrfs.ts'
import { loopDisk } from '../support/loop-disk.ts'
import { digestOf } from '../support/tree-digest.ts'
import { setXattr } from '../support/xattr.ts'

/** Two trees on one btrfs, the second a snapshot to be changed, and a copy of the first on an ext4. */
const trees = async () => {
  const disk = await loopBtrfs()
  onTestFinished(() => disk.dispose())
  const far = await loopDisk('ext4')
  onTestFinished(() => far.dispose())
  const at = (name: string) => join(disk.path, name)
  await sh('btrfs', 'subvolume', 'create', at('live'))
  const snapshot = (name: string) => sh('btrfs', 'subvolume', 'snapshot', '-r', at('live'), at(name))
  const copy = join(far.path, 'copy')
  await mkdir(copy)
  const ship = async (name: string, base: string | null, takenAt = 0) => {
    const proofPath = join(far.path, 'proof')
    await rm(proofPath, { force: true })
    const [top, from] = [at(name), base === null ? null : at(base)]
    const send = sendCommand({ identity: name, baseIdentity: base, top, base: from, baseTakenMs: takenAt })
    const ends = await realHands.pipe(send, receiveCommand({ tree: copy, baseIdentity: base, proofPath }))
    return { ...ends, isSame: digestOf(copy) === digestOf(at(name)), isProved: await realHands.exists(proofPath) }
  }
  return { live: at('live'), snapshot, ship, copy }
}

const well = { codes: [0, 0], isSame: true, isProved: true }

test('what rsync by itself would miss or spoil: other bytes at the same size and time, split links, large attributes', async () => {
  const { live, snapshot, ship } = await trees()
  const at = (name: string) => join(live, name)
  await realHands.plantHostileTree(live)
  for (const name of ['sneaky', 'also']) writeFileSync(at(name), 'AAAA')
  linkSync(at('also'), at('also 2'))
  utimesSync(at('sneaky'), 1_234_567, 1_234_567)
  setXattr(at('sneaky'), 'user.large', Buffer.alloc(1500, 1))
  for (const name of ['twin', 'other twin']) linkSync(at('also'), at(name))
  mkdirSync(at('behind'))
  writeFileSync(at('behind/file'), 'the same from outside')
  symlinkSync('behind', at('ahead'))
  symlinkSync('around', at('around'))
  await snapshot('s1')
  expect(await ship('s1', null)).toMatchObject(well)

  writeFileSync(at('sneaky'), 'BBBB')
  utimesSync(at('sneaky'), 1_234_567, 1_234_567)
  setXattr(at('sneaky'), 'user.large', Buffer.alloc(1500, 2))
  setXattr(at('plain'), 'user.large', Buffer.alloc(2000, 8))
  rmSync(at('link 7'))
  writeFileSync(at('link 7'), 'a file of its own')
  renameSync(at('owned'), at('moved'))
  // Two files now that look like one.
  await sh('cp', '--preserve=all', at('twin'), at('new'))
  renameSync(at('new'), at('other twin'))
  // A directory where the base has a link, to a directory of the same names and to itself.
  rmSync(at('ahead'))
  renameSync(at('behind'), at('ahead'))
  rmSync(at('around'))
  mkdirSync(at('around'))
  writeFileSync(at('around/file'), 'no link any more')
  rmSync(at('deep'), { recursive: true })
  writeFileSync(at('deep'), 'a directory no more')
  await snapshot('s2')
  expect(await ship('s2', 's1', Date.now())).toMatchObject(well)
})

test('what lies where the base has a link is touched, also when it was there under another name', async () => {
  const { live, snapshot } = await trees()
  mkdirSync(join(live, 'behind'))
  writeFileSync(join(live, 'behind/file'), 'seen through the link')
  symlinkSync('behind', join(live, 'ahead'))
  await snapshot('s1')
  rmSync(join(live, 'ahead'))
  renameSync(join(live, 'behind'), join(live, 'ahead'))
  await snapshot('s2')
  const at = (name: string) => join(live, '..', name)
  // The top, the directory and the file.
  expect([...(changesIn(at('s2'), at('s1'), Date.now() + 60_000).touched ?? [])]).toEqual([0, 1, 2])
})

test('a file written twice within one tick of the clock, before and after the base, is shipped', async () => {
  const { live, snapshot, ship, copy } = await trees()
  const path = join(live, 'hot')
  writeFileSync(path, 'AAAA')
  await snapshot('s1')
  await ship('s1', null)
  // As if the clock had not gone on: change times cannot be set, but the base may have been taken at any time.
  writeFileSync(path, 'BBBB')
  const { atime, mtime } = statSync(join(copy, 'hot'))
  utimesSync(path, atime, mtime)
  await snapshot('s2')
  expect(await ship('s2', 's1', Date.now())).toMatchObject(well)
})

test('1% of a big file in single pages: at most 1.2 times what changed; a sparse file costs next to nothing', async () => {
  const { live, snapshot, ship, copy } = await trees()
  const size = 128 * mib
  const file = await open(join(live, 'big'), 'w+')
  onTestFinished(() => file.close())
  for (let at = 0; at < size; at += mib) await file.write(randomBytes(mib), 0, mib, at)
  await sh('truncate', '-s', '300M', join(live, 'sparse'))
  await snapshot('s1')
  const whole = await ship('s1', null)
  expect(whole).toMatchObject(well)
  expect(whole.bytes).toBeLessThan(size * 1.01)
  expect(statSync(join(copy, 'sparse')).blocks).toBe(0)

  const pages = new Set<number>()
  for (let page = 0; pages.size < size / 4096 / 100; page = (page + 20_011) % (size / 4096)) pages.add(page)
  for (const page of pages) await file.write(randomBytes(4096), 0, 4096, page * 4096)
  await snapshot('s2')
  const part = await ship('s2', 's1', Date.now())
  expect(part).toMatchObject(well)
  expect(part.bytes / (pages.size * 4096)).toBeLessThan(1.2)
}, 120_000)

test('from btrfs to a loop device and on to btrfs: each upon what it has already', async () => {
  const [one, two] = [await loopBtrfs(), await loopDisk('xfs')]
  onTestFinished(() => one.dispose())
  onTestFinished(() => two.dispose())
  const make = async (spec: string) => {
    const backend = createBackend({ spec: parsePoolSpec(spec), exec, logger: silentLogger, clock: systemClock })
    await backend.open()
    onTestFinished(() => backend.close())
    return backend
  }
  const [btrfs, loop] = [await make(`btrfs:${one.path}`), await make(`loop:${two.path}`)]
  const id = volumeId(newId())
  for (const backend of [btrfs, loop]) await backend.writeRecord(recordOf(id, backend))
  await btrfs.create(id, { sizeBytes: 64 * mib })
  const live = join(one.path, 'volumes', id, 'live/data')
  await realHands.plantHostileTree(live)
  const facets = { hands: realHands }
  const snapshots = (on: typeof btrfs) => on.snapshots ?? raise('no snapshots')
  const digest = (on: typeof btrfs, name: string) =>
    snapshots(on).withPath(id, name, async (path) => digestOf(join(path, 'data')))

  const s1 = await snapshots(btrfs).create(id, 's1', 'move')
  const there = { from: btrfs, to: loop, id, sizeBytes: 64 * mib }
  await carryTree(facets, { ...there, sent: s1, base: null })
  writeFileSync(join(live, 'more'), randomBytes(100_000))
  const s2 = await snapshots(btrfs).create(id, 's2', 'move')
  const { received, bytes } = await carryTree(facets, { ...there, sent: s2, base: { here: s1, there: 's1' } })
  expect(bytes).toBeLessThan(130_000)
  expect(await digest(loop, 's2')).toBe(await digest(btrfs, 's2'))

  await loop.streams?.promote(id, 's2', { sizeBytes: 64 * mib })
  const s3 = await snapshots(loop).create(id, 's3', 'move')
  const back = { from: loop, to: btrfs, id, sizeBytes: 64 * mib, sent: s3, base: { here: received, there: 's2' } }
  const { bytes: backBytes } = await carryTree(facets, back)
  expect(backBytes).toBeLessThan(50_000)
  expect(await digest(btrfs, 's3')).toBe(await digest(loop, 's3'))
}, 120_000)
