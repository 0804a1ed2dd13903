import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { volumeId } from '../../src/domain/ids.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import {
  type BackendBench,
  type MakePool,
  mib,
  newId,
  pastTheLimit,
  recordOf,
  setUpBench,
  wholeBytesOf,
} from './backend-bench.ts'
import { crashSuite } from './backend-crash-suite.ts'
import { resumingSuite } from './backend-resuming-suite.ts'
import { snapshotSuite } from './backend-snapshot-suite.ts'
import { streamSuite } from './backend-stream-suite.ts'
import { treeSuite } from './backend-tree-suite.ts'

/** A file can run a part of the suite alone, so that files share the work where processes start slowly. Together they are all of it. */
const parts = {
  volumes: (bench: BackendBench, facets: Facets) => {
    test('has the facets that it is tested for, and no others', () => {
      expect(bench.backend.snapshots !== undefined).toBe(facets.snapshots)
      expect(bench.backend.streams !== undefined).toBe(facets.streams)
      expect(bench.backend.streams?.resuming !== undefined).toBe(facets.resuming ?? false)
      expect(bench.backend.trees !== undefined).toBe(facets.trees)
      expect(bench.backend.options !== undefined).toBe(facets.options ?? false)
    })
    recordSuite(bench)
    liveSuite(bench)
    mountSuite(bench)
    sizeSuite(bench)
    limitSuite(bench)
    destroySuite(bench)
  },
  crashes: crashSuite,
  snapshots: (bench: BackendBench, facets: Facets) => {
    if (facets.snapshots) snapshotSuite(bench)
  },
  streams: (bench: BackendBench, facets: Facets) => {
    if (facets.streams) streamSuite(bench)
  },
  resuming: (bench: BackendBench, facets: Facets) => {
    if (facets.resuming === true) resumingSuite(bench)
  },
  trees: (bench: BackendBench, facets: Facets) => {
    if (facets.trees) treeSuite(bench)
  },
} as const

interface Facets {
  readonly snapshots: boolean
  readonly streams: boolean
  readonly trees: boolean
  /** Streams that were cut off go on. Default: they do not. */
  readonly resuming?: boolean
  /** Default: none. */
  readonly options?: boolean
}

export type SuitePart = keyof typeof parts
export const allParts: readonly SuitePart[] = ['volumes', 'crashes', 'snapshots', 'streams', 'resuming', 'trees']

/** What every backend must do, on real storage. `facets` names the optional abilities that this one has. */
export const backendSuite = (
  name: string,
  makePool: MakePool,
  facets: Facets = { snapshots: true, streams: true, trees: false },
  which: readonly SuitePart[] = allParts,
): void => {
  describe(`backend ${name}`, () => {
    const bench = setUpBench(
      makePool,
      which.some((part) => ['streams', 'resuming', 'trees'].includes(part)),
    )
    for (const part of which) parts[part](bench, facets)
  })
}

const recordSuite = (bench: BackendBench): void => {
  test('record: written, read, written again, listed', async () => {
    const { backend } = bench
    const record = recordOf(newId(), backend)
    expect(await backend.readRecord(record.volumeId)).toBeNull()
    await backend.writeRecord(record)
    await backend.writeRecord(record)
    expect(await backend.readRecord(record.volumeId)).toEqual(record)
    await backend.writeRecord({ ...record, epoch: 2 })
    expect((await backend.readRecord(record.volumeId))?.epoch).toBe(2)
    expect((await backend.list()).records.map((each) => each.volumeId)).toEqual([record.volumeId])
  })

  test('info: whole bytes', async () => {
    const info = await bench.backend.info()
    expect(info.totalBytes).toBeGreaterThan(info.freeBytes)
    expect(Number.isSafeInteger(info.freeBytes)).toBe(true)
  })
}

const liveSuite = (bench: BackendBench): void => {
  test('create: an empty data directory; again: bytes untouched', async () => {
    const { backend } = bench
    const id = await bench.made()
    const first = await backend.live(id)
    const data = await bench.mounted(backend, id)
    expect(await bench.hands.readdir(data)).toEqual([])
    await bench.hands.writeFile(join(data, 'kept'), 'kept')
    expect((await backend.create(id, { sizeBytes: null })).uuid).toBe(first?.uuid)
    expect((await bench.hands.readFile(join(data, 'kept'))).toString()).toBe('kept')
  })

  test('of the absent: null, or DATASET_MISSING, and nothing made', async () => {
    const { backend } = bench
    const id = newId()
    expect(await backend.live(id)).toBeNull()
    expect(await backend.fingerprint(id)).toBeNull()
    const path = join(await temporaryDirectory(), 'mnt')
    await expect(backend.mount(id, path)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
    await expect(backend.sync(id)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
    await expect(backend.nested(id)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
    expect(await backend.list()).toEqual({ records: [], foreign: [] })
  })

  test('generation: grows with a write, never shrinks; the identity stays', async () => {
    const { backend } = bench
    const id = await bench.made()
    const data = await bench.mounted(backend, id)
    const before = await backend.live(id)
    await bench.hands.readdir(data)
    expect((await backend.live(id))?.generation).toBeGreaterThanOrEqual(before?.generation ?? 0)
    await bench.hands.writeFile(join(data, 'x'), 'x')
    const after = await backend.live(id)
    expect(after?.generation).toBeGreaterThan(before?.generation ?? 0)
    expect((await backend.live(id, { sync: false }))?.uuid).toBe(before?.uuid)
    await backend.unmount(id, join(data, '..'))
    expect((await backend.live(id))?.generation).toBeGreaterThanOrEqual(after?.generation ?? 0)
    expect((await backend.live(id))?.uuid).toBe(before?.uuid)
  })

  test('nested ones are named', async () => {
    const id = await bench.made()
    expect(await bench.backend.nested(id)).toEqual([])
    await bench.pool.nest?.(id, 'data/inner')
    expect(await bench.backend.nested(id)).toEqual(bench.pool.nest === undefined ? [] : ['data/inner'])
  })

  test('usage: bytes of live datasets; the absent left out', async () => {
    const { backend } = bench
    const id = await bench.made()
    const data = await bench.mounted(backend, id)
    await bench.hands.writeFile(join(data, 'x'), Buffer.alloc(3 * mib, 1))
    await backend.sync(id)
    const absent = newId()
    const used = async () => (await backend.usage([id, absent])).get(id) ?? 0
    await expect.poll(used, { timeout: 60_000 }).toBeGreaterThanOrEqual(3 * mib)
    expect((await backend.usage([absent])).has(absent)).toBe(false)
  })

  test('usage, exact: what was written a moment ago counts, asked by two at once', async () => {
    const { backend } = bench
    const id = await bench.made()
    const data = await bench.mounted(backend, id)
    await bench.hands.writeFile(join(data, 'x'), Buffer.alloc(3 * mib, 1))
    const absent = newId()
    const ask = () => backend.usage([id, absent], { exact: true })
    for (const figures of await Promise.all([ask(), ask()])) {
      expect(figures.get(id)).toBeGreaterThanOrEqual(3 * mib)
      expect(figures.has(absent)).toBe(false)
    }
    expect(await bench.backend.list()).toMatchObject({ foreign: [] })
  })
}

const mountSuite = (bench: BackendBench): void => {
  test('mount again: never a second layer; two at once: one layer', async () => {
    const { backend } = bench
    const id = await bench.made()
    const path = join(await temporaryDirectory(), 'a', 'mnt')
    await Promise.all([backend.mount(id, path), backend.mount(id, path)])
    await backend.mount(id, path)
    expect(await bench.hands.layersAt(path)).toBe(1)
    await backend.unmount(id, path)
    await backend.unmount(id, path)
    expect(await bench.hands.exists(path)).toBe(false)
  })

  test('unmount peels every layer', async () => {
    const { backend } = bench
    const id = await bench.made()
    const path = join(await temporaryDirectory(), 'mnt')
    await backend.mount(id, path)
    await bench.hands.bindAgain(path)
    expect(await bench.hands.layersAt(path)).toBe(2)
    await backend.unmount(id, path)
    expect(await bench.hands.layersAt(path)).toBe(0)
  })

  test('unmount of the busy: VOLUME_BUSY, still mounted', async () => {
    const { backend } = bench
    const id = await bench.made()
    const data = await bench.mounted(backend, id)
    const handle = await bench.hands.open(join(data, 'held'))
    try {
      await expect(backend.unmount(id, join(data, '..'))).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    } finally {
      await handle.close()
    }
    expect(await bench.hands.readdir(data)).toEqual(['held'])
  })

  test('what another mounted at the path is left alone', async () => {
    const { backend } = bench
    const id = await bench.made()
    const path = join(await temporaryDirectory(), 'mnt')
    onTestFinished(await bench.hands.mountOther(path))
    await expect(backend.mount(id, path)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    await expect(backend.unmount(id, path)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    expect(await bench.hands.layersAt(path)).toBe(1)
  })
}

const sizeSuite = (bench: BackendBench): void => {
  test('size: a writer past it gets an error, what was synced before is whole; raised, not undercut', async () => {
    const { backend } = bench
    // Sixteen of them are twice the least by which a device can be smaller.
    const step = Math.max(mib, wholeBytesOf(bench.pool) / 8)
    const id = await bench.made(16 * step)
    expect((await backend.live(id))?.sizeBytes).toBe(16 * step)
    const data = await bench.mounted(backend, id)
    const handle = await bench.hands.open(join(data, 'big'))
    let whole = 0
    let failure: unknown = null
    try {
      for (; whole < 64; whole += 1) {
        await handle.append(Buffer.alloc(step, whole + 1))
      }
    } catch (error) {
      failure = error
    } finally {
      await handle.close().catch(() => undefined)
    }
    expect(failure).toMatchObject(pastTheLimit)
    expect(whole).toBeGreaterThan(8)
    expect(whole).toBeLessThanOrEqual(16)
    const bytes = await bench.hands.readFile(join(data, 'big'))
    for (let at = 0; at < whole; at += 1) {
      expect(bytes.subarray(at * step, (at + 1) * step).equals(Buffer.alloc(step, at + 1))).toBe(true)
    }
    await backend.sync(id)
    expect((await backend.usage([id])).get(id)).toBeGreaterThan(8 * step)
    if (backend.resizing === undefined) return
    await expect(backend.resizing.resize(id, 4 * step)).rejects.toMatchObject({ code: 'BAD_SIZE' })
    expect((await backend.live(id))?.sizeBytes).toBe(16 * step)
    const grow = () => backend.resizing?.resize(id, 64 * step)
    if (bench.pool.growsMounted === false) {
      await expect(grow()).rejects.toMatchObject({ code: 'NOT_PERMITTED' })
      expect((await backend.live(id))?.sizeBytes).toBe(16 * step)
      await backend.unmount(id, join(data, '..'))
    }
    await grow()
    await grow()
    await backend.mount(id, join(data, '..'))
    expect(
      (await bench.hands.readFile(join(data, 'big'))).subarray(0, whole * step).equals(bytes.subarray(0, whole * step)),
    ).toBe(true)
    await bench.hands.writeFile(join(data, 'more'), Buffer.alloc(Math.max(16 * mib, 4 * step), 'y'), { flush: true })
    expect((await backend.live(id))?.sizeBytes).toBe(64 * step)
    await expect(backend.resizing.resize(newId(), mib)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
  })
}

const limitSuite = (bench: BackendBench): void => {
  test('size: an odd one is kept to the byte', async () => {
    const id = await bench.made(16 * mib + 1)
    expect((await bench.backend.live(id))?.sizeBytes).toBe(16 * mib + 1)
  })
}

const destroySuite = (bench: BackendBench): void => {
  test('destroy: at once out of sight, settled later; again and on the absent: a success', async () => {
    const { backend, pool } = bench
    await backend.settled()
    const before = await pool.leftovers()
    const id = await bench.made(64 * mib)
    await backend.snapshots?.create(id, 's1', 'user')
    await pool.nest?.(id, 'data/inner')
    await backend.destroy(id)
    expect(await backend.readRecord(id)).toBeNull()
    expect(await backend.live(id)).toBeNull()
    await backend.destroy(id)
    await backend.destroy(newId())
    await backend.settled()
    expect(await pool.leftovers()).toEqual(before)
  })

  test('destroy of the mounted: VOLUME_BUSY, nothing removed', async () => {
    const { backend } = bench
    const id = await bench.made()
    const data = await bench.mounted(backend, id)
    await bench.hands.writeFile(join(data, 'kept'), '')
    await expect(backend.destroy(id)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    await expect(backend.destroyLive(id)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    expect(await bench.hands.readdir(data)).toEqual(['kept'])
    expect(await backend.readRecord(id)).not.toBeNull()
  })

  test('destroyLive: record and snapshots stay; again and on the absent: a success', async () => {
    const { backend } = bench
    const id = await bench.made()
    await backend.snapshots?.create(id, 's1', 'user')
    await backend.destroyLive(id)
    await backend.destroyLive(id)
    await backend.destroyLive(newId())
    expect(await backend.live(id)).toBeNull()
    expect(await backend.readRecord(id)).not.toBeNull()
    if (backend.snapshots !== undefined) expect(await backend.snapshots.list(id)).toHaveLength(1)
  })

  test('destroyLive: what a crash left of one in the making goes too', async () => {
    const { backend, pool } = bench
    const id = await bench.made()
    await backend.destroyLive(id)
    await backend.settled()
    const before = await pool.leftovers()
    await pool.interruptMaking(id)
    expect(await pool.leftovers()).not.toEqual(before)
    await backend.destroyLive(id)
    await backend.settled()
    expect(await pool.leftovers()).toEqual(before)
  })

  test('a removal that a crash interrupted is taken up by open', async () => {
    const { backend, pool } = bench
    await backend.settled()
    const before = await pool.leftovers()
    const id = await bench.made()
    await pool.interruptRemoval(id)
    expect(await pool.leftovers()).not.toEqual(before)
    const again = pool.backend()
    await again.open()
    await again.settled()
    await again.close()
    expect(await pool.leftovers()).toEqual(before)
  })

  test('what is not ours is reported or not seen, and never touched', async () => {
    const { backend, pool } = bench
    const id = await bench.made()
    const foreign = await pool.plantForeign()
    onTestFinished(() => foreign.remove())
    const listed = await backend.list()
    expect(listed.records.map((each) => each.volumeId)).toEqual([id])
    expect([...listed.foreign].sort()).toEqual([...foreign.names].sort())
    for (const each of foreign.names.filter((text) => /^[0-9a-z]{26}$/.test(text))) {
      await expect(backend.destroy(volumeId(each))).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
    }
    await backend.destroy(id)
    await backend.settled()
    const again = pool.backend()
    await again.open()
    await again.settled()
    await again.close()
    expect(await foreign.untouched()).toBe(true)
  })
}
