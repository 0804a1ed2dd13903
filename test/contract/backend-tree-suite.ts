import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Backend, SnapshotFacet, TreeFacet } from '../../src/backends/backend.ts'
import { receiveCommand, sendCommand } from '../../src/backends/tree/commands.ts'
import type { SnapshotRecord } from '../../src/domain/dataset.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { patience } from '../support/patience.ts'
import { type BackendBench, mib, newId, raise, recordOf, wholeBytesOf } from './backend-bench.ts'

/** Trees: what every pool takes from a pool of another kind, and gives to one. */
export const treeSuite = (bench: BackendBench): void => {
  describe('trees', () => {
    const toBeMoved = async (sizeBytes: number | null = null): Promise<VolumeId> => {
      const id = await bench.made(sizeBytes)
      await bench.other.writeRecord(recordOf(id, bench.other))
      return id
    }

    const carry = (from: Backend, to: Backend, id: VolumeId, sent: SnapshotRecord, base: Pair | null) =>
      carryTree(bench, { from, to, id, sent, base, sizeBytes: null })

    test(
      'a hostile tree comes across whole, upon a base, and back upon what was received',
      async () => {
        const { backend, other } = bench
        const id = await toBeMoved()
        const data = await bench.mounted(backend, id)
        await bench.hands.plantHostileTree(data)
        const s1 = await snapshotsOf(backend).create(id, 's1', 'move')
        const { received: r1 } = await carry(backend, other, id, s1, null)
        const digest = (on: Backend, name: string) =>
          snapshotsOf(on).withPath(id, name, async (path) => bench.hands.digestTree(join(path, 'data')))
        expect(await digest(other, 's1')).toBe(await digest(backend, 's1'))
        expect(r1.name).toBe('s1')
        expect(r1.streamUuid).toBe(r1.uuid)
        expect(r1.streamUuid).not.toBe(s1.streamUuid)

        await bench.hands.rename(join(data, 'plain'), join(data, 'renamed'))
        await bench.hands.chmod(join(data, 'owned'), 0o7)
        await bench.hands.rm(join(data, 'symlink'))
        await bench.hands.appendFile(join(data, 'link 3'), 'through a link')
        const s2 = await snapshotsOf(backend).create(id, 's2', 'move')
        const { received: r2, bytes } = await carry(backend, other, id, s2, { here: s1, there: 's1' })
        expect(bytes).toBeLessThan(mib / 2)
        expect(await digest(other, 's2')).toBe(await digest(backend, 's2'))
        expect(await snapshotsOf(other).intact(id, r1)).toBe(true)
        expect(await snapshotsOf(other).intact(id, r2)).toBe(true)
        expect((await snapshotsOf(other).list(id)).map((each) => each.name)).toEqual(['s1', 's2'])

        const streams = other.streams ?? raise('no streams')
        await streams.promote(id, 's2', { sizeBytes: null })
        const there = await bench.mounted(other, id)
        await bench.hands.appendFile(join(there, 'owned'), 'from elsewhere')
        const s3 = await snapshotsOf(other).create(id, 's3', 'move')
        expect(await snapshotsOf(other).unchangedSince(id, 's3')).toBe(true)
        const { bytes: back } = await carry(other, backend, id, s3, { here: r2, there: 's2' })
        expect(back).toBeLessThan(mib / 2)
        expect(await digest(backend, 's3')).toBe(await digest(other, 's3'))
      },
      patience(900_000),
    )

    test(
      'the limit holds while a tree is written',
      async () => {
        const { backend, other } = bench
        const id = await toBeMoved()
        const data = await bench.mounted(backend, id)
        const bulk = noise(Math.max(24 * mib, 1.5 * wholeBytesOf(bench.pool)))
        await bench.hands.writeFile(join(data, 'bulk'), bulk, { flush: true })
        const sent = await snapshotsOf(backend).create(id, 's', 'move')
        const small = carryTree(bench, { from: backend, to: other, id, sent, base: null, sizeBytes: 16 * mib })
        await expect(small).rejects.toThrow(/ended with/)
        const finish = treesOf(other).finishReceive(id, 'move1', 's', sent.streamUuid)
        await expect(finish).rejects.toMatchObject({ code: 'STREAM_FAILED' })
        expect(await snapshotsOf(other).list(id)).toEqual([])
      },
      patience(600_000),
    )

    test('finishReceive: again the same; another identity, or nothing arrived: an error, nothing made', async () => {
      const { backend, other } = bench
      const id = await toBeMoved()
      const sent = await snapshotsOf(backend).create(id, 's', 'move')
      const finish = (identity: string) => treesOf(other).finishReceive(id, 'move1', 's', identity)
      await expect(finish(sent.streamUuid)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      const { received } = await carry(backend, other, id, sent, null)
      expect(await finish(sent.streamUuid)).toEqual(received)
      await expect(finish('another')).rejects.toMatchObject({ code: 'STREAM_FAILED' })
      expect(await snapshotsOf(other).intact(id, received)).toBe(true)
      expect(await bench.other.streams?.partials(id)).toEqual([])
    })

    test('partials: prepared again empty, not finished without a proof, aborted, on the absent', async () => {
      const { other } = bench
      const id = await toBeMoved()
      const trees = treesOf(other)
      const prepare = (volume: VolumeId, partial: string, base: string | null = null) =>
        trees.prepareReceive(volume, partial, base, { sizeBytes: null })
      await prepare(id, 'move1')
      await trees.withPartial(id, 'move1', ({ path }) => bench.hands.writeFile(join(path, 'data/half'), 'half'))
      await prepare(id, 'move1')
      await trees.withPartial(id, 'move1', async ({ path }) => {
        expect(await bench.hands.readdir(join(path, 'data'))).toEqual([])
      })
      expect(await other.streams?.partials(id)).toEqual(['move1'])
      await expect(trees.finishReceive(id, 'move1', 's', 'any')).rejects.toMatchObject({ code: 'STREAM_FAILED' })
      await other.streams?.abortReceive(id, 'move1')
      expect(await other.streams?.partials(id)).toEqual([])
      await expect(trees.withPartial(id, 'move1', async () => {})).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      await expect(prepare(id, 'move1', 'absent')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      await other.streams?.abortReceive(id, 'move1')
      await expect(prepare(newId(), 'move1')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      expect((await other.list()).foreign).toEqual([])
    })
  })
}

/** The snapshot that the sender has, and its name at the receiver. */
export interface Pair {
  readonly here: SnapshotRecord
  readonly there: string
}

const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')
const treesOf = (on: Backend): TreeFacet => on.trees ?? raise('no trees')

const noise = (bytes: number): Buffer => {
  const made = Buffer.alloc(bytes)
  for (let at = 0, state = 1; at < bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    made.writeUInt32LE(state, at)
  }
  return made
}

interface Carried {
  readonly from: Backend
  readonly to: Backend
  readonly id: VolumeId
  readonly sent: SnapshotRecord
  readonly base: Pair | null
  readonly sizeBytes: number | null
}

/** Sends into the partial `move1` of the other pool. @throws Error when a command ended badly */
export const carryTree = async ({ hands }: Pick<BackendBench, 'hands'>, options: Carried) => {
  const { from, to, id, sent, base, sizeBytes } = options
  const trees = treesOf(to)
  await trees.prepareReceive(id, 'move1', base?.there ?? null, { sizeBytes })
  const baseIdentity = base?.here.streamUuid ?? null
  const order = {
    identity: sent.streamUuid,
    baseIdentity,
    baseTakenMs: Date.parse(base?.here.createdAt ?? sent.createdAt),
  }
  const shown = (name: string | undefined, use: (path: string | null) => Promise<number>) =>
    name === undefined ? use(null) : snapshotsOf(from).withPath(id, name, (path) => use(join(path, 'data')))
  const bytes = await shown(sent.name, (top) =>
    shown(base?.here.name, (basePath) =>
      trees.withPartial(id, 'move1', async ({ path, proofPath }) => {
        const send = sendCommand({ ...order, top: top ?? raise('no path'), base: basePath })
        const receive = receiveCommand({ tree: join(path, 'data'), baseIdentity, proofPath })
        const { codes, bytes: counted } = await hands.pipe(send, receive)
        if (codes.some((code) => code !== 0)) throw new Error(`a tree stream ended with ${codes.join(' and ')}`)
        return counted
      }),
    ),
  )
  return { bytes, received: await trees.finishReceive(id, 'move1', sent.name, sent.streamUuid) }
}
