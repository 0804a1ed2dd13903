import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Argv, Backend, ResumingFacet, SnapshotFacet, StreamFacet } from '../../src/backends/backend.ts'
import type { SnapshotRecord } from '../../src/domain/dataset.ts'
import { type BackendBench, mib, raise, recordOf } from './backend-bench.ts'

const stranger = '00000000-0000-4000-8000-000000000000'
const fileBytes = 40 * mib
const cutBytes = 32 * mib

type Sent = SnapshotRecord | null

/** Streams whose processes were both killed go on, where a pool can. */
export const resumingSuite = (bench: BackendBench): void => {
  describe('streams that were cut off', () => {
    /** A volume that is mounted on the first pool, and has its record on the second, as a move begins. */
    const toBeMoved = async () => {
      const id = await bench.made(192 * mib)
      await bench.other.writeRecord(recordOf(id, bench.other))
      return { id, data: await bench.mounted(bench.backend, id) }
    }

    /** The stream of a new snapshot upon the one before it, and where it goes. */
    const begun = async ({ id, data }: Awaited<ReturnType<typeof toBeMoved>>, name: string, before: Sent) => {
      const { backend, other, hands } = bench
      await hands.writeFile(join(data, name), randomBytes(fileBytes), { flush: true })
      const sent = await snapshotsOf(backend).create(id, name, 'move')
      const baseUuid = before?.streamUuid ?? null
      const receive = await streamsOf(other).prepareReceive(id, 'move1', baseUuid)
      const send = await streamsOf(backend).sendCommand(id, name, before?.name ?? null, streamsOf(other).version)
      return { id, sent, baseUuid, send, receive }
    }
    type Begun = Awaited<ReturnType<typeof begun>>
    const resume = ({ id, sent, baseUuid }: Begun) =>
      resumingOf(bench.other).resumeReceive(id, 'move1', { streamUuid: sent.streamUuid, baseUuid })
    const sendRest = ({ id, sent }: Begun, base: string | null, token: string): Promise<Argv> =>
      resumingOf(bench.backend).resumeSend(id, sent.name, base, token)

    test('go on with the rest, in full and upon a base, as often as they are cut off; contents the same', async () => {
      const { backend, other, hands } = bench
      const volume = await toBeMoved()
      let before: Sent = null
      for (const name of ['s1', 's2']) {
        const stream = await begun(volume, name, before)
        const base = before?.name ?? null
        expect(await resume(stream)).toBeNull()
        await hands.cutOff(stream.send, stream.receive, cutBytes)
        const first = (await resume(stream)) ?? raise('nothing was kept')
        await hands.cutOff(await sendRest(stream, base, first.token), first.argv, 2 * mib)
        const second = (await resume(stream)) ?? raise('nothing was kept')
        const { codes, bytes } = await hands.pipe(await sendRest(stream, base, second.token), second.argv)
        expect(codes).toEqual([0, 0])
        expect(bytes).toBeLessThan(fileBytes / 2)
        const received = await streamsOf(other).finishReceive(stream.id, 'move1', name, stream.sent.streamUuid)
        expect(await snapshotsOf(other).intact(stream.id, received)).toBe(true)
        expect(await streamsOf(other).partials(stream.id)).toEqual([])
        const digest = (on: Backend) =>
          snapshotsOf(on).withPath(stream.id, name, async (path) => hands.digestTree(join(path, 'data')))
        expect(await digest(other)).toBe(await digest(backend))
        before = stream.sent
      }
    })

    test('do not go on as another stream: of another snapshot, upon another base, or begun anew', async () => {
      const { backend, other, hands } = bench
      const stream = await begun(await toBeMoved(), 's1', null)
      await hands.cutOff(stream.send, stream.receive, cutBytes)
      const { id, sent } = stream
      const target = resumingOf(other)
      expect(await target.resumeReceive(id, 'move1', { streamUuid: stranger, baseUuid: null })).toBeNull()
      const upon = { streamUuid: sent.streamUuid, baseUuid: stranger }
      expect(await target.resumeReceive(id, 'move1', upon)).toBeNull()
      expect(await target.resumeReceive(id, 'move2', { streamUuid: sent.streamUuid, baseUuid: null })).toBeNull()
      const { token } = (await resume(stream)) ?? raise('nothing was kept')
      await snapshotsOf(backend).create(id, 's2', 'move')
      for (const [name, base] of [
        ['s2', null],
        ['s1', 's2'],
      ] as const) {
        await expect(resumingOf(backend).resumeSend(id, name, base, token)).rejects.toMatchObject({
          code: 'STREAM_FAILED',
        })
      }
      await expect(resumingOf(backend).resumeSend(id, 's1', null, 'no token')).rejects.toMatchObject({
        code: 'STREAM_FAILED',
      })
      const anew = await streamsOf(other).prepareReceive(id, 'move1')
      expect(await resume(stream)).toBeNull()
      const { codes } = await hands.pipe(await streamsOf(backend).sendCommand(id, 's1', null), anew)
      expect(codes).toEqual([0, 0])
      await streamsOf(other).finishReceive(id, 'move1', 's1', sent.streamUuid)
      expect(await resume(stream)).toBeNull()
    })
  })
}

const snapshotsOf = (on: Backend): SnapshotFacet => on.snapshots ?? raise('no snapshots')
const streamsOf = (on: Backend): StreamFacet => on.streams ?? raise('no streams')
const resumingOf = (on: Backend): ResumingFacet => streamsOf(on).resuming ?? raise('streams that do not go on')
