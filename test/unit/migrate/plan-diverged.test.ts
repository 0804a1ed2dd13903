import { expect, test } from 'vitest'
import type { DatasetRecord, Role, SnapshotRecord } from '../../../src/domain/dataset.ts'
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

test('what other pools of the target hold is left alone when it is a replica, and refused when it may be more', () => {
  const { target, ...rest } = input([], [])
  const beside = (role: Role): PlanInput => ({
    ...rest,
    target: { ...target, role: null, beside: [{ pool: 'btrfs:/pool', role }] },
  })
  expect(makePlan(beside('replica'))).toMatchObject({ strategy: 'native-full' })
  expect(() => makePlan(beside('diverged'))).toThrow(
    expect.objectContaining({
      code: 'DIVERGED',
      message:
        'host host2 holds a copy of volume db that is diverged in pool btrfs:/pool; it was left alone, look at vol inspect db',
    }),
  )
})

test('within one host the copy that is moved stands beside where it goes', () => {
  const { source, target, from, ...rest } = input([], [])
  const { pool } = source.record
  const within = (role: Role, where = pool): PlanInput => ({
    ...{ ...rest, source, from, to: from },
    target: { ...target, role: null, beside: [{ pool: where, role }] },
  })
  expect(makePlan(within('owner'))).toMatchObject({ strategy: 'native-full' })
  expect(() => makePlan(within('owner', 'btrfs:/third'))).toThrow('that is owner in pool btrfs:/third')
})
