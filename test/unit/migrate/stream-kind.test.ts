import { expect, test } from 'vitest'
import type { SnapshotRecord } from '../../../src/domain/dataset.ts'
import type { SourceObservation, TargetReport } from '../../../src/migrate/agent.ts'
import { startWithin } from '../../../src/migrate/conduit.ts'
import { canHandOver } from '../../../src/migrate/handover/handover-plan.ts'
import { handoverName, isHandover, snapshotIndex } from '../../../src/migrate/move-snapshots.ts'
import { commonBase, makePlan, type PlanInput } from '../../../src/migrate/plan.ts'
import { baseIdentityFor, type StreamKind, streamKindOf } from '../../../src/migrate/stream-kind.ts'
import type { TransferResult } from '../../../src/migrate/transfer.ts'

const snapshot = (name: string, streamUuid: string, treeUuid?: string): SnapshotRecord => ({
  ...{ name, uuid: streamUuid, streamUuid, generation: 1, createdAt: '2026-11-27T00:00:00Z', origin: 'move' },
  ...(treeUuid === undefined ? {} : { treeUuid }),
})

const sourceWith = (change: Partial<SourceObservation>): SourceObservation => ({
  ...{ record: { role: 'owner', moveId: null, pool: 'btrfs:/a' } as SourceObservation['record'], usedBytes: 1 },
  ...{ intactSnapshots: [], nested: [], uses: [], inUseBy: null, specs: [], streamFormat: 'btrfs-send' },
  ...{ trees: { problem: null }, ...change },
})

const targetWith = (change: Partial<TargetReport>): TargetReport => ({
  ...{ pool: { spec: 'loop:/b', kind: 'loop', totalBytes: 2 ** 40, freeBytes: 2 ** 40 }, streamFormat: 'blocks' },
  ...{ intactSnapshots: [], problems: [], role: null, trees: { problem: null }, ...change },
})

const planOf = (source: SourceObservation, target: TargetReport) =>
  makePlan({
    ...{ volumeName: 'db', from: 'host1', to: 'host2', targetPool: 'loop:/b', source, target, changedBytes: 1 },
    request: { containers: 'move', dropMounts: [] } as unknown as PlanInput['request'],
    downtime: { fixedMs: 1, bytesPerSecond: 1e9 } as unknown as PlanInput['downtime'],
  })

test('native where both have it, else by trees, else not at all', () => {
  expect(streamKindOf(sourceWith({}), targetWith({ streamFormat: 'btrfs-send' }))).toBe('native')
  expect(streamKindOf(sourceWith({}), targetWith({}))).toBe('tree')
  const { trees: _, ...without } = targetWith({})
  expect(streamKindOf(sourceWith({}), without)).toBeNull()
  expect(() => planOf(sourceWith({}), without)).toThrow('have no stream in common')
})

test('a base of a tree is what both know by its files; a native stream never goes upon files', () => {
  const source = sourceWith({ intactSnapshots: [snapshot('s1', 'u1'), snapshot('s2', 'u2')] })
  const target = targetWith({ intactSnapshots: [snapshot('s2', 'own', 'u2')] })
  expect(commonBase(source, target)?.name).toBe('s2')
  expect(planOf(source, target).strategy).toBe('tree-incremental')
  expect(planOf(source, targetWith({})).strategy).toBe('tree-full')
  expect(commonBase(source, { ...target, streamFormat: 'btrfs-send' })).toBeNull()
})

test('rsync missing at either end refuses what needs it, and names the host', () => {
  const problem = 'rsync is not installed'
  expect(() => planOf(sourceWith({ trees: { problem } }), targetWith({}))).toThrow('on host host1: rsync')
  expect(() => planOf(sourceWith({}), targetWith({ trees: { problem } }))).toThrow('on host host2: rsync')
  const native = targetWith({ streamFormat: 'btrfs-send', trees: { problem } })
  expect(planOf(sourceWith({}), native).strategy).toBe('native-full')
})

test('pools that reach the same disks hand the volume over, unless copies are compared, or something would stay behind', () => {
  const record = { role: 'owner', moveId: null, pool: 'ebs:', snapshots: [snapshot('s1', 'u1')] } as never
  const source = sourceWith({ record, handover: 'zone a' })
  // Nothing is sent, so no space is needed.
  const target = targetWith({
    handover: 'zone a',
    pool: { spec: 'ebs:', kind: 'ebs', totalBytes: 2 ** 40, freeBytes: 0 },
  })
  expect(planOf(source, target)).toMatchObject({ strategy: 'handover', base: null, forecast: { bytes: 0 } })
  expect(canHandOver(source, { handover: 'zone b' }, {})).toBe(false)
  expect(canHandOver({ record }, {}, {})).toBe(false)
  expect(canHandOver(source, target, { verify: true })).toBe(false)
  const kept = { record: { snapshots: [{ ...snapshot('s1', 'u1'), origin: 'user' }] } as never, handover: 'zone a' }
  expect(canHandOver(kept, target, {})).toBe(false)
})

test('where both find the same snapshots only their names are sent, each whole; EC2 is told of, and what it bills', () => {
  const record = { role: 'owner', moveId: null, pool: 'ebs:', snapshots: [] } as never
  const [reach, other] = [{ sharedSnapshots: 'region a' }, { sharedSnapshots: 'region b' }]
  const source = sourceWith({ record, ...reach, streamFormat: 'blocks', usedBytes: 2 ** 30, handover: 'zone a' })
  const target = targetWith({ ...reach, handover: 'zone b' })
  expect(streamKindOf(source, target)).toBe('snapshot')
  expect(streamKindOf(source, { ...target, ...other })).toBe('native')
  expect(streamKindOf(sourceWith({ streamFormat: 'blocks' }), target)).toBe('native')
  expect(planOf(source, target)).toMatchObject({
    strategy: 'snapshot-full',
    cloud: { snapshotBytes: 2 ** 30, snapshotGibMonths: 0.0329, transferBytes: 0 },
  })
  expect(planOf({ ...source, snapshotPlace: 'r1' }, { ...target, snapshotPlace: 'r2' })).toMatchObject({
    strategy: 'snapshot-full',
    cloud: { snapshotBytes: 2 ** 31, transferBytes: 2 ** 30 },
  })
  const s1 = snapshot('s1', 'u1')
  const upon = [
    { ...source, intactSnapshots: [s1] },
    { ...target, intactSnapshots: [s1] },
  ] as const
  expect(planOf(...upon)).toMatchObject({ strategy: 'snapshot-incremental', cloud: { snapshotBytes: 1 } })
  expect(['native', 'tree', 'snapshot', 'tree'].map((kind) => baseIdentityFor(kind as StreamKind, s1))).toEqual([
    'u1',
    'u1',
    null,
    'u1',
  ])
  expect(planOf(source, { ...target, handover: 'zone a' })).toMatchObject({
    strategy: 'handover',
    cloud: { snapshotBytes: 0 },
  })
  expect(planOf(sourceWith({}), targetWith({})).cloud).toBeNull()
})

test('S of a handover is of its move, and no snapshot of it', () => {
  const [name, other] = [handoverName({ moveId: 'm1' }, 2), 'move-m1-2']
  expect([isHandover(name), isHandover(other)]).toEqual([true, false])
  expect([name, other, 'move-m2-2', null].map((each) => snapshotIndex({ moveId: 'm1' }, each))).toEqual([2, 2, -1, -1])
})

test('a transfer is done when what it needed is taken down, and fails when that fails to come up', async () => {
  const steps: string[] = []
  const ended = Promise.withResolvers<TransferResult>()
  const transfer = { done: ended.promise, progress: () => ({ bytes: 1 }), abort: () => {} }
  const within = await startWithin(
    async (use) => {
      const value = await use(['true'])
      steps.push('taken down')
      return value
    },
    async () => transfer,
  )
  const done = within.done.then(() => steps.push('done'))
  expect(within.progress()).toEqual({ bytes: 1 })
  ended.resolve({ bytes: 1, ms: 1, digest: null, resentBytes: 0, reconnects: 0, wireBytes: 1 })
  await done
  expect(steps).toEqual(['taken down', 'done'])
  const failing = startWithin(
    () => Promise.reject(new Error('it cannot be mounted')),
    async () => transfer,
  )
  await expect(failing).rejects.toThrow('cannot be mounted')
})
