import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { TargetSide } from '../../../src/migrate/target-side.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { type Stream, writeStream } from '../../simulation/stream.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }
const [first, second] = [`move-${move}-0`, `move-${move}-1`]

const stream = (uuid: string, baseUuid: string | null): Stream => ({
  uuid,
  baseUuid,
  files: [[`data/${uuid}`, new Uint8Array(8)]],
  gone: [],
  bytes: 8,
})

/** A target that holds the first round and has the second one in its partial. */
const afterTwoRounds = async () => {
  const { host, files, backend, pool } = await memoryHost()
  const firstMount = await FirstMount.open('/data', async () => 0, host.machine)
  const target = new TargetSide(host, {} as ContainerRuntime, new MoveJournal('/data', files), firstMount)
  const receive = async (sent: Stream) =>
    (await target.prepareReceive(command)).conduit(async (argv) =>
      writeStream(pool, argv, sent, true, '2026-11-24T00:00:00.000Z'),
    )
  await target.begin({ ...command, pool: 'btrfs:/pool', sizeBytes: null, labels: {}, createdAt: '' })
  await receive(stream('s0', null))
  await target.received({ ...command, name: first, streamUuid: 's0', baseUuid: null })
  await receive(stream('s1', 's0'))
  return { target, backend, pool }
}

test('a round upon a base that is as it was received is taken', async () => {
  const { target, backend } = await afterTwoRounds()
  await target.received({ ...command, name: second, streamUuid: 's1', baseUuid: 's0' })
  expect((await backend.readRecord(volume))?.snapshots.map(({ name }) => name)).toEqual([first, second])
})

test('a round upon a base that somebody wrote to within the move is not', async () => {
  const { target, backend, pool } = await afterTwoRounds()
  const base = pool.volumes.get(volume)?.snapshots.get(first)
  if (base === undefined) throw new Error('no base')
  base.readOnly = false
  pool.write(base, 'data/foreign', new Uint8Array(1))
  base.readOnly = true
  const round = target.received({ ...command, name: second, streamUuid: 's1', baseUuid: 's0' })
  await expect(round).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  expect((await backend.readRecord(volume))?.snapshots.map(({ name }) => name)).toEqual([first])
  // Nothing of that name waits for the next try, which may be sent whole and has no base to be proved.
  expect(pool.volumes.get(volume)?.snapshots.has(second)).toBe(false)
})
