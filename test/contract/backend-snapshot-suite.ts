import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { SnapshotFacet } from '../../src/backends/backend.ts'
import { type BackendBench, mib, newId, raise } from './backend-bench.ts'
import type { Hands } from './hands.ts'

export const snapshotSuite = (bench: BackendBench): void => {
  const facet = (): SnapshotFacet => bench.backend.snapshots ?? raise('no snapshots')

  describe('snapshots', () => {
    test('once, again, of the absent; listed oldest first', async () => {
      const id = await bench.made()
      const first = await facet().create(id, 'b-first', 'move')
      expect(await facet().create(id, 'b-first', 'move')).toEqual(first)
      await facet().create(id, 'a-second', 'user')
      const listed = await facet().list(id)
      expect(listed.map((each) => each.name)).toEqual(['b-first', 'a-second'])
      expect(listed[0]).toEqual({ ...first, origin: 'user' })
      await expect(facet().create(newId(), 's', 'move')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      expect(await facet().list(newId())).toEqual([])
      await facet().destroy(id, 'b-first')
      await facet().destroy(id, 'b-first')
      await facet().destroy(newId(), 'b-first')
      expect((await facet().list(id)).map((each) => each.name)).toEqual(['a-second'])
    })

    test('shown read-only at a path, as it was taken', async () => {
      const { backend, hands } = bench
      const id = await bench.made()
      const data = await bench.mounted(backend, id)
      await hands.plantTree(data)
      const before = await hands.describeTree(data)
      await facet().create(id, 's', 'move')
      await hands.writeFile(join(data, 'later'), 'x')
      const shown = await facet().withPath(id, 's', (path) => hands.describeTree(join(path, 'data')))
      expect(shown).toBe(before)
      const writing = facet().withPath(id, 's', (path) => hands.writeFile(join(path, 'data', 'x'), 'x'))
      await expect(writing).rejects.toMatchObject({ code: 'EROFS' })
      await expect(facet().withPath(id, 'other', async () => {})).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      const failing = facet().withPath(id, 's', () => Promise.reject(new Error('of the user')))
      await expect(failing).rejects.toThrow('of the user')
    })

    const longest = () => bench.pool.longestName ?? 200

    test('names are taken, up to the longest', async () => {
      for (const name of ['a'.repeat(longest()), 'A.b-c_9']) {
        const id = await bench.made()
        const snapshot = await facet().create(id, name, 'user')
        expect(await facet().intact(id, snapshot)).toBe(true)
        expect((await facet().list(id)).map((each) => each.name)).toEqual([name])
        await facet().destroy(id, name)
        expect(await facet().list(id)).toEqual([])
      }
    })

    test('names that are refused', async () => {
      const id = await bench.made()
      for (const name of ['..', 'a/b', '', '-x', '.hidden', 'a'.repeat(longest() + 1), 'a\nb']) {
        await expect(facet().create(id, name, 'user'), name).rejects.toMatchObject({ code: 'BAD_NAME' })
      }
    })

    test('unchanged proof: holds after reads and unmount', async () => {
      const { backend } = bench
      const id = await bench.made()
      const data = await bench.mounted(backend, id)
      await bench.hands.writeFile(join(data, 'x'), 'x')
      await facet().create(id, 's', 'move')
      await bench.hands.readFile(join(data, 'x'))
      await backend.unmount(id, join(data, '..'))
      expect(await facet().unchangedSince(id, 's')).toBe(true)
      expect(await facet().unchangedSince(id, 's')).toBe(true)
      await expect(facet().unchangedSince(id, 'none')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      await expect(facet().unchangedSince(newId(), 's')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
    })

    test.each<[string, (data: string, hands: Hands) => Promise<unknown>]>([
      ['an append', (data, hands) => hands.appendFile(join(data, 'x'), 'y')],
      ['an overwrite of the same bytes', (data, hands) => hands.writeFile(join(data, 'x'), 'x')],
      ['a removal', (data, hands) => hands.rm(join(data, 'x'))],
      ['a rename', (data, hands) => hands.rename(join(data, 'x'), join(data, 'y'))],
      ['another mode', (data, hands) => hands.chmod(join(data, 'x'), 0o600)],
    ])('unchanged proof: fails after %s', async (_, change) => {
      const { backend } = bench
      const id = await bench.made()
      const data = await bench.mounted(backend, id)
      await bench.hands.writeFile(join(data, 'x'), 'x')
      const snapshot = await facet().create(id, 's', 'move')
      await change(data, bench.hands)
      expect(await facet().unchangedSince(id, 's')).toBe(false)
      expect((await backend.live(id))?.generation).toBeGreaterThan(snapshot.generation)
    })

    test('unchanged proof: a file unlinked before and closed after does not fool it', async () => {
      const id = await bench.made()
      const data = await bench.mounted(bench.backend, id)
      await bench.hands.writeFile(join(data, 'kept'), 'x')
      const handle = await bench.hands.open(join(data, 'gone'))
      await handle.append(Buffer.alloc(mib))
      await bench.hands.rm(join(data, 'gone'))
      await facet().create(id, 's', 'move')
      await handle.close()
      expect(await facet().unchangedSince(id, 's')).toBe(true)
      await bench.hands.rm(join(data, 'kept'))
      expect(await facet().unchangedSince(id, 's')).toBe(false)
    })

    test('unchanged proof: another live dataset in its place is not unchanged', async () => {
      const { backend } = bench
      const id = await bench.made()
      await facet().create(id, 's', 'move')
      await backend.destroyLive(id)
      await backend.create(id, { sizeBytes: null })
      expect(await facet().unchangedSince(id, 's')).toBe(false)
    })

    test('a base is intact until somebody wrote to it or made another of its name', async () => {
      const id = await bench.made()
      const recorded = await facet().create(id, 's', 'move')
      expect(await facet().intact(id, recorded)).toBe(true)
      expect(await facet().intact(id, { ...recorded, name: 'other' })).toBe(false)
      await bench.pool.tamper(id, 's')
      expect(await facet().intact(id, recorded)).toBe(false)
      await facet().destroy(id, 's')
      expect(await facet().intact(id, recorded)).toBe(false)
      await facet().create(id, 's', 'move')
      expect(await facet().intact(id, recorded)).toBe(false)
    })

    test('changed bytes: about what was written since', async () => {
      const { backend } = bench
      const id = await bench.made()
      const data = await bench.mounted(backend, id)
      await bench.hands.writeFile(join(data, 'before'), Buffer.alloc(4 * mib, 1))
      const since = await facet().create(id, 's', 'move')
      expect(await facet().changedBytes(id, since)).toBe(0)
      await bench.hands.writeFile(join(data, 'after'), Buffer.alloc(2 * mib, 2))
      await backend.sync(id)
      const changed = await facet().changedBytes(id, since)
      expect(changed).toBeGreaterThanOrEqual(2 * mib)
      expect(changed).toBeLessThan(3 * mib)
    })
  })
}
