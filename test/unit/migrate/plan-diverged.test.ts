import { expect, test } from 'vitest'
import type { DatasetRecord, SnapshotRecord } from '../../../src/domain/dataset.ts'
import { clusterId, hostId, volumeId } from '../../../src/domain/ids.ts'
import { makePlan, type PlanInput } from '../../../src/migrate/plan.ts'

const record: DatasetRecord = {
  ...{ formatVersion: 1, clusterId: clusterId('c'.repeat(26)), hostId: hostId('h'.repeat(26)), pool: 'zfs:tank' },
  ...{ volumeId: volumeId('v'.repeat(26)), name: 'db', nameVersion: 1, role: 'owner', epoch: 1, seen: 1, moveId: null },
  ...{ endedMoves: [], datasetUuid: null, snapshot: null, snapshots: [], lease: 'none', sizeBytes: null, labels: {} },
  ...{ createdAt: '2026-11-23T00:00:00.000Z', keepUntil: null },
}

const snapshot = (name: string): SnapshotRecord => ({
  ...{ name, uuid: name, streamUuid: name, generation: 1 },
  ...{ createdAt: '2026-11-24T00:00:00.000Z', origin: 'move' },
})

const input = (here: readonly string[], there: readonly string[]): PlanInput => ({
  ...{ volumeName: 'db', from: 'host1', to: 'host2', targetPool: 'zfs:tank', changedBytes: null },
  request: { to: 'host2', quiesce: 'stop', containers: 'move', dropMounts: [], healthTimeoutMs: 0, onlyIdle: false },
  source: {
    ...{ record, usedBytes: 0, nested: [], uses: [], inUseBy: null, specs: [], streamFormat: 'zfs-send-1' },
    intactSnapshots: here.map(snapshot),
  },
  target: {
    pool: { spec: 'zfs:tank', kind: 'zfs', totalBytes: 2 ** 40, freeBytes: 2 ** 40 },
    ...{ streamFormat: 'zfs-send-1', problems: [], role: 'owner', intactSnapshots: there.map(snapshot) },
  },
  downtime: { fixedMs: { quiesce: 0, delta: 0, verify: 0, release: 0, commit: 0, activate: 0 }, msPerByte: 0 },
})

test('a copy that went its own way: both lists of snapshots are named', () => {
  expect(() => makePlan(input(['a', 'b'], ['a', 'x']))).toThrow(
    expect.objectContaining({
      code: 'DIVERGED',
      message: expect.stringMatching(
        /host2 holds .* owner, with snapshots a, x; host1 has snapshots a, b; nothing was rolled back/,
      ),
      details: {
        source: [expect.objectContaining({ name: 'a' }), expect.objectContaining({ name: 'b' })],
        target: [expect.objectContaining({ name: 'a' }), expect.objectContaining({ name: 'x' })],
      },
    }),
  )
  expect(() => makePlan(input([], ['x']))).toThrow('host1 has no snapshots')
})

test('a replica in another pool than the one that was asked for is told in plan, and what to do', () => {
  const { target, ...rest } = input(['a'], [])
  const held = (heldIn: string): PlanInput => ({ ...rest, target: { ...target, role: 'replica', heldIn } })
  expect(() => makePlan(held('btrfs:/pool'))).toThrow(
    expect.objectContaining({
      code: 'DIVERGED',
      message: 'host host2 has a replica of volume db in pool btrfs:/pool, not in zfs:tank; leave --pool out',
    }),
  )
  expect(makePlan(held('zfs:tank'))).toMatchObject({ strategy: 'native-full' })
})
