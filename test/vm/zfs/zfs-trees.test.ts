import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import { createBackend } from '../../../src/backends/registry.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec, mib, newId, raise, recordOf } from '../../contract/backend-bench.ts'
import { backendSuite } from '../../contract/backend-suite.ts'
import { carryTree } from '../../contract/backend-tree-suite.ts'
import { realHands } from '../../contract/hands.ts'
import { loopBtrfs } from '../../support/loop-btrfs.ts'
import { loopDisk } from '../../support/loop-disk.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { digestOf } from '../../support/tree-digest.ts'
import { testZpool } from '../../support/zpool.ts'
import { makePool } from './pool-under-test.ts'

backendSuite('zfs', makePool, { snapshots: true, streams: true, trees: true, options: true }, ['trees'])

const opened = async (spec: string): Promise<Backend> => {
  const backend = createBackend({ spec: parsePoolSpec(spec), exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(() => backend.close())
  return backend
}

const others = {
  btrfs: async () => {
    const disk = await loopBtrfs()
    onTestFinished(() => disk.dispose())
    return opened(`btrfs:${disk.path}`)
  },
  loop: async () => {
    const disk = await loopDisk('xfs')
    onTestFinished(() => disk.dispose())
    return opened(`loop:${disk.path}`)
  },
}

const sizeBytes = 256 * mib
const pageBytes = 4096
const fileBytes = 16 * mib

/** Other bytes in so many pages, far from each other. */
const change = async (file: FileHandle, pages: number): Promise<number> => {
  for (let index = 0; index < pages; index += 1) {
    const page = (index * 20_011) % (fileBytes / pageBytes)
    await file.write(randomBytes(pageBytes), 0, pageBytes, page * pageBytes)
  }
  await file.sync()
  return pages * pageBytes
}

test.each(['btrfs', 'loop'] as const)(
  'zfs and %s: whole, upon a base, and back upon what is there',
  async (kind) => {
    const pool = await testZpool()
    onTestFinished(() => pool.dispose())
    const [zfs, other] = [await opened(`zfs:${pool.dataset}`), await others[kind]()]
    const id = volumeId(newId())
    for (const backend of [zfs, other]) await backend.writeRecord(recordOf(id, backend))
    const snapshots = (on: Backend) => on.snapshots ?? raise('no snapshots')
    const digest = (on: Backend, name: string) =>
      snapshots(on).withPath(id, name, async (path) => digestOf(join(path, 'data')))
    const mounted = async <T>(on: Backend, use: (data: string) => Promise<T>): Promise<T> => {
      const path = join(await temporaryDirectory(), 'mnt')
      await mkdir(path)
      await on.mount(id, path)
      return use(join(path, 'data')).finally(() => on.unmount(id, path))
    }

    await zfs.create(id, { sizeBytes })
    const [s1, s2, changed] = await mounted(zfs, async (data) => {
      await realHands.plantHostileTree(data)
      const file = await open(join(data, 'big'), 'w+')
      for (let at = 0; at < fileBytes; at += mib) await file.write(randomBytes(mib), 0, mib, at)
      const first = await snapshots(zfs).create(id, 's1', 'move')
      const bytes = await change(file, 200)
      await file.close()
      return [first, await snapshots(zfs).create(id, 's2', 'move'), bytes] as const
    })
    const there = { from: zfs, to: other, id, sizeBytes }
    await carryTree({ hands: realHands }, { ...there, sent: s1, base: null })
    const upon = await carryTree({ hands: realHands }, { ...there, sent: s2, base: { here: s1, there: 's1' } })
    expect(upon.bytes / changed).toBeLessThan(1.2)
    expect(await digest(other, 's2')).toBe(await digest(zfs, 's2'))

    await other.streams?.promote(id, 's2', { sizeBytes })
    const changedThere = await mounted(other, async (data) => {
      const file = await open(join(data, 'big'), 'r+')
      return change(file, 200).finally(() => file.close())
    })
    const s3 = await snapshots(other).create(id, 's3', 'move')
    const base = { here: { ...upon.received, streamUuid: s2.streamUuid }, there: 's2' }
    const back = await carryTree({ hands: realHands }, { from: other, to: zfs, id, sizeBytes, sent: s3, base })

    expect(back.bytes / changedThere).toBeLessThan(1.2)
    expect(await digest(zfs, 's3')).toBe(await digest(other, 's3'))
    expect(await snapshots(zfs).intact(id, back.received)).toBe(true)
  },
  600_000,
)
