import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Backend, SnapshotFacet, StreamFacet } from '../../src/backends/backend.ts'
import type { SnapshotRecord } from '../../src/domain/dataset.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { patience } from '../support/patience.ts'
import { type BackendBench, mib, newId, pastTheLimit, raise, recordOf, wholeBytesOf } from './backend-bench.ts'

export const streamSuite = (bench: BackendBench): void => {
  describe('streams', () => {
    const carry = (from: Backend, to: Backend, id: VolumeId, sent: SnapshotRecord, base: string | null) =>
      carryStream(bench, { from, to, id, sent, base })

    /** A volume on the first pool, and its record on the second, as a move begins. */
    const toBeMoved = async (sizeBytes: number | null = null): Promise<VolumeId> => {
      const id = await bench.made(sizeBytes)
      await bench.other.writeRecord(recordOf(id, bench.other))
      return id
    }

    test(
      'full, incremental, promoted, and back: contents and attributes the same, the way back incremental',
      async () => {
        const { backend, other } = bench
        const id = await toBeMoved(48 * mib)
        const data = await bench.mounted(backend, id)
        await bench.hands.plantTree(data)
        await bench.hands.writeFile(join(data, 'bulk'), Buffer.alloc(32 * mib, 3))
        const s1 = await snapshotsOf(backend).create(id, 's1', 'move')
        const { received: r1, bytes: fullBytes } = await carry(backend, other, id, s1, null)
        expect(r1).toMatchObject({ name: 's1', streamUuid: s1.streamUuid })
        expect(await streamsOf(other).partials(id)).toEqual([])

        await bench.hands.appendFile(join(data, 'plain'), 'more')
        await bench.hands.rm(join(data, 'symlink'))
        const s2 = await snapshotsOf(backend).create(id, 's2', 'move')
        const { received: r2, bytes } = await carry(backend, other, id, s2, 's1')
        expect(bytes).toBeLessThan(fullBytes / 100)
        expect(await snapshotsOf(other).intact(id, r1)).toBe(true)
        expect((await snapshotsOf(other).list(id)).map((each) => each.name)).toEqual(['s1', 's2'])

        const promoted = await streamsOf(other).promote(id, 's2', { sizeBytes: 64 * mib })
        expect(promoted.sizeBytes).toBe(64 * mib)
        const again = await streamsOf(other).promote(id, 's2', { sizeBytes: 64 * mib })
        expect(again.uuid).toBe(promoted.uuid)
        expect(await snapshotsOf(other).intact(id, r2)).toBe(true)
        const there = await bench.mounted(other, id)
        expect(await bench.hands.describeTree(there)).toBe(await bench.hands.describeTree(data))
        const past = Buffer.alloc(Math.max(48 * mib, wholeBytesOf(bench.otherPool)), 9)
        await expect(bench.hands.writeFile(join(there, 'past'), past, { flush: true })).rejects.toMatchObject(
          pastTheLimit,
        )
        await bench.hands.rm(join(there, 'past'))

        await bench.hands.appendFile(join(there, 'owned'), 'from elsewhere')
        await bench.hands.symlink('new', join(there, 'new symlink'))
        const s3 = await snapshotsOf(other).create(id, 's3', 'move')
        await backend.unmount(id, join(data, '..'))
        await backend.destroyLive(id)
        const { received: r3, bytes: backBytes } = await carry(other, backend, id, s3, 's2')
        expect(backBytes).toBeLessThan(fullBytes / 100)
        expect(r3.streamUuid).toBe(s3.streamUuid)
        expect(await snapshotsOf(backend).intact(id, s2)).toBe(true)
        expect(await snapshotsOf(backend).intact(id, r3)).toBe(true)
        const live = await streamsOf(backend).promote(id, 's3', { sizeBytes: null })
        expect(live.sizeBytes).toBeNull()
        await backend.mount(id, join(data, '..'))
        expect(await bench.hands.describeTree(data)).toBe(await bench.hands.describeTree(there))
      },
      patience(900_000),
    )

    test('a hostile tree comes across whole, in full and upon a base', async () => {
      const { backend, other } = bench
      const id = await toBeMoved()
      const data = await bench.mounted(backend, id)
      await bench.hands.plantHostileTree(data)
      const digest = (on: Backend, name: string) =>
        snapshotsOf(on).withPath(id, name, async (path) => bench.hands.digestTree(join(path, 'data')))
      const s1 = await snapshotsOf(backend).create(id, 's1', 'move')
      await carry(backend, other, id, s1, null)
      expect(await digest(other, 's1')).toBe(await digest(backend, 's1'))
      await bench.hands.rename(join(data, 'plain'), join(data, 'renamed'))
      await bench.hands.chmod(join(data, 'owned'), 0o7)
      await bench.hands.rm(join(data, 'symlink'))
      const s2 = await snapshotsOf(backend).create(id, 's2', 'move')
      await carry(backend, other, id, s2, 's1')
      expect(await digest(other, 's2')).toBe(await digest(backend, 's2'))
      expect(await digest(other, 's2')).not.toBe(await digest(other, 's1'))
    })

    test('finishReceive: again the same; another identity, or nothing arrived: an error, nothing made', async () => {
      const { backend, other } = bench
      const id = await toBeMoved()
      const sent = await snapshotsOf(backend).create(id, 's', 'move')
      const target = streamsOf(other)
      const finish = (uuid: string) => target.finishReceive(id, 'move1', 's', uuid)
      await expect(finish(sent.streamUuid)).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      await pipe(bench, backend, other, id, 's', null)
      expect(await target.partials(id)).toEqual(['move1'])
      const stranger = '00000000-0000-4000-8000-000000000000'
      await expect(finish(stranger)).rejects.toMatchObject({ code: 'STREAM_FAILED' })
      expect(await snapshotsOf(other).list(id)).toEqual([])
      const received = await finish(sent.streamUuid)
      expect(await finish(sent.streamUuid)).toEqual(received)
      await expect(finish(stranger)).rejects.toMatchObject({ code: 'STREAM_FAILED' })
      expect(await snapshotsOf(other).intact(id, received)).toBe(true)
    })

    test('a stream cut short is no snapshot, and does not hinder the next', async () => {
      const { backend, other } = bench
      const id = await toBeMoved()
      const data = await bench.mounted(backend, id)
      await bench.hands.writeFile(join(data, 'bulk'), Buffer.alloc(8 * mib, 3))
      const sent = await snapshotsOf(backend).create(id, 's', 'move')
      const receive = await streamsOf(other).prepareReceive(id, 'move1')
      const send = await streamsOf(backend).sendCommand(id, 's', null, streamsOf(other).version)
      const { codes } = await bench.hands.pipe(send, receive, { cut: true })
      expect(codes[1]).not.toBe(0)
      await expect(streamsOf(other).finishReceive(id, 'move1', 's', sent.streamUuid)).rejects.toMatchObject({
        code: expect.stringMatching(/^(STREAM_FAILED|DATASET_MISSING)$/),
      })
      await carry(backend, other, id, sent, null)
      expect((await snapshotsOf(other).list(id)).map((each) => each.name)).toEqual(['s'])
    })

    test('partials: prepared again empty, aborted, again, on the absent', async () => {
      const { other } = bench
      const id = await toBeMoved()
      const target = streamsOf(other)
      await target.prepareReceive(id, 'move1')
      await target.prepareReceive(id, 'move1')
      await target.prepareReceive(id, 'move2')
      expect((await target.partials(id)).sort()).toEqual(['move1', 'move2'])
      await target.abortReceive(id, 'move1')
      await target.abortReceive(id, 'move1')
      await target.abortReceive(newId(), 'move1')
      expect(await target.partials(id)).toEqual(['move2'])
      const absent = newId()
      await expect(target.prepareReceive(absent, 'move1')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      expect((await other.list()).foreign).toEqual([])
    })

    test('a received base that was written to is not intact', async () => {
      const { backend, other } = bench
      const id = await toBeMoved()
      const sent = await snapshotsOf(backend).create(id, 's', 'move')
      const { received } = await carry(backend, other, id, sent, null)
      expect(await snapshotsOf(other).intact(id, received)).toBe(true)
      await bench.otherPool.tamper(id, 's')
      expect(await snapshotsOf(other).intact(id, received)).toBe(false)
    })

    test('promote: never over another live dataset, never of nothing', async () => {
      const { backend } = bench
      const id = await bench.made()
      await snapshotsOf(backend).create(id, 's', 'move')
      const live = await backend.live(id)
      const promote = (name: string) => streamsOf(backend).promote(id, name, { sizeBytes: null })
      await expect(promote('s')).rejects.toMatchObject({ code: 'DIVERGED' })
      expect((await backend.live(id))?.uuid).toBe(live?.uuid)
      await backend.destroyLive(id)
      await expect(promote('other')).rejects.toMatchObject({ code: 'DATASET_MISSING' })
      expect(await backend.live(id)).toBeNull()
      await promote('s')
      expect((await backend.live(id))?.uuid).not.toBe(live?.uuid)
    })
  })
}

const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')
const streamsOf = (on: Backend): StreamFacet => on.streams ?? raise('no streams')

const streamUuidOf = async (on: Backend, id: VolumeId, name: string): Promise<string> =>
  (await snapshotsOf(on).list(id)).find((each) => each.name === name)?.streamUuid ?? raise(`no snapshot ${name}`)

interface Carried {
  readonly from: Backend
  readonly to: Backend
  readonly id: VolumeId
  readonly sent: SnapshotRecord
  /** A snapshot that both have, by its name at the sender. */
  readonly base: string | null
}

/** Sends into the partial `move1` of the other pool and makes it a snapshot there. */
export const carryStream = async (bench: Pick<BackendBench, 'hands'>, { from, to, id, sent, base }: Carried) => {
  const baseUuid = base === null ? null : await streamUuidOf(from, id, base)
  const bytes = await pipe(bench, from, to, id, sent.name, base, baseUuid)
  return { bytes, received: await streamsOf(to).finishReceive(id, 'move1', sent.name, sent.streamUuid) }
}

/** Sends into the partial `move1` of the other pool; answers the bytes of the stream. */
const pipe = async (
  bench: Pick<BackendBench, 'hands'>,
  from: Backend,
  to: Backend,
  id: VolumeId,
  name: string,
  base: string | null,
  baseUuid: string | null = null,
) => {
  const receive = await streamsOf(to).prepareReceive(id, 'move1', baseUuid)
  const send = await streamsOf(from).sendCommand(id, name, base, streamsOf(to).version)
  const { codes, bytes } = await bench.hands.pipe(send, receive)
  expect(codes).toEqual([0, 0])
  return bytes
}
