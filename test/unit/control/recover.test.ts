import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ControlParts } from '../../../src/control/parts.ts'
import { Publisher } from '../../../src/control/publisher.ts'
import { recoverStore, settleUnknown } from '../../../src/control/recover.ts'
import type { DatasetRecord, Role } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Host } from '../../../src/domain/host.ts'
import { clusterId, type HostId, hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import { isWithinHost, restartsContainers } from '../../../src/domain/move.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent, MoveCommand, Recall } from '../../../src/migrate/agent.ts'
import { termOf } from '../../../src/state/epochs.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import type { CatalogEntry } from '../../../src/volumes/catalog.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const cluster = clusterId('c'.repeat(26))
const at = '2026-11-24T00:00:00.000Z'
const id = (count: number) => volumeId(`v${String(count).padStart(25, '0')}`)
const m1 = moveId(`m${'1'.padStart(25, '0')}`)

const hosts: Host[] = [1, 2, 3].map((count) => ({
  id: hostId(`h${String(count).padStart(25, '0')}`),
  name: `host${count}`,
  address: `10.0.0.${count}:7460`,
  dataAddress: `10.0.0.${count}:7461`,
  pools: ['btrfs:/pool'],
  control: count === 1,
  fingerprint: '',
  joinedAt: at,
}))
const host = (count: number): Host => {
  const found = hosts[count - 1]
  if (found === undefined) throw new Error(`no host ${count}`)
  return found
}

const record = (
  on: number,
  volume: number,
  role: Role,
  epoch: number,
  changes: Partial<DatasetRecord> = {},
): DatasetRecord => ({
  formatVersion: 1,
  clusterId: cluster,
  hostId: host(on).id,
  pool: 'btrfs:/pool',
  volumeId: id(volume),
  name: `db${volume}`,
  nameVersion: 1,
  role,
  epoch,
  seen: epoch,
  moveId: null,
  endedMoves: [],
  datasetUuid: role === 'replica' || role === 'receiving' ? null : `uuid-${on}-${volume}`,
  snapshot: null,
  snapshots: [],
  lease: 'none',
  sizeBytes: 2 ** 30,
  labels: { team: 'a' },
  createdAt: at,
  keepUntil: null,
  ...changes,
})

const entry = (volume: number, owner: number, epoch: number): CatalogEntry => ({
  id: id(volume),
  name: `db${volume}`,
  ownerHostId: host(owner).id,
  ownerHost: host(owner).name,
  epoch,
  sizeBytes: 2 ** 30,
  labels: {},
  options: { size: '1073741824' },
  createdAt: at,
})

/** What hosts remember of a store that is gone: of term 0, far ahead of the one that was found. */
const lost = { storeId: 'the lost one', term: 0, commitSequence: 40 }

type Memory = { [K in keyof Recall]?: Recall[K] }

/** The recovery over a real store, empty as after its loss, and hosts that answer from memory; null: one that does not. */
const clusterOf = async (memories: readonly (Memory | null)[], table: readonly CatalogEntry[] = []) => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  await store.putHost(host(1))
  const refused: { host: string; command: MoveCommand }[] = []
  const events: string[] = []
  const answers = new Map<HostId, Memory | null>(hosts.map(({ id: of }, index) => [of, memories[index] ?? null]))
  const agent = (of: Host): Agent =>
    ({
      recall: async () => {
        const memory = answers.get(of.id) ?? null
        if (memory === null) throw new DroverError('HOST_UNREACHABLE', `${of.name} does not answer`)
        const told = { term: 0, sequence: 40, entries: table }
        return { store: lost, members: hosts, table: told, records: [], heard: [], journals: [], ...memory }
      },
      refuseTarget: async (command: MoveCommand) => void refused.push({ host: of.name, command }),
    }) as Partial<Agent> as Agent
  const parts: ControlParts = {
    store,
    agent,
    clock: systemClock,
    logger: silentLogger,
    publisher: new Publisher({ store, agent, logger: silentLogger, clock: systemClock }),
    ownHost: async () => host(1),
    hostById: async (of) => hosts.find((other) => other.id === of) ?? host(1),
    hostName: async (of) => hosts.find((other) => other.id === of)?.name ?? of,
    mayWrite: async () => {},
    emit: async (type) => void events.push(type),
    isVerified: () => false,
    prices: async () => null,
    renewCertificate: async () => {},
    reconcile: async () => true,
  }
  const recover = (dryRun = false) => recoverStore(parts, { dryRun }, async () => {})
  return { store, parts, refused, events, answers, recover }
}

test('a lost store: owners, names, sizes and labels from the records, hosts from the members, all at a higher term', async () => {
  const { store, recover, events } = await clusterOf([
    { records: [record(1, 1, 'owner', 3)] },
    { records: [record(2, 2, 'owner', 7), record(2, 1, 'replica', 3)] },
    {},
  ])
  const before = await store.identity()
  const report = await recover()
  expect(report.volumes.map(({ name, outcome, host: on, epoch }) => ({ name, outcome, on, epoch }))).toEqual([
    { name: 'db1', outcome: 'owner', on: 'host1', epoch: 3 },
    { name: 'db2', outcome: 'owner', on: 'host2', epoch: 7 },
  ])
  expect(await store.volumeByName('db2')).toMatchObject({
    ...{ state: 'ready', ownerHostId: host(2).id, sizeBytes: 2 ** 30, labels: { team: 'a' }, openMoveId: null },
  })
  expect((await store.hosts()).map(({ name }) => name)).toEqual(['host1', 'host2', 'host3'])
  const after = await store.identity()
  expect(after.term).toBe(1)
  expect(after.storeId).not.toBe(before.storeId)
  expect(events).toEqual(['store.recovered'])
  const volume = await store.volume(id(1))
  if (volume === null) throw new Error('db1 is not there')
  const { begun } = await beginAny(store, volume)
  expect(termOf(begun)).toBe(1)
})

const beginAny = async (
  store: Awaited<ReturnType<typeof clusterOf>>['store'],
  volume: NonNullable<Awaited<ReturnType<typeof store.volume>>>,
) => {
  const template = (await clusterOfMove()).move
  const { epoch } = await store.beginMove(volume, () => ({
    ...template,
    sourceHostId: volume.ownerHostId,
    sourcePool: volume.pool,
  }))
  return { begun: epoch }
}

/** A move row as a recovery makes it: a released source whose target gives up. */
const clusterOfMove = async () => {
  const command: MoveCommand = { volumeId: id(9), volumeName: 'db9', moveId: m1, epoch: 4, returnEpoch: 5 }
  const released = record(2, 9, 'released', 3, { moveId: m1, seen: 4, snapshot: 'S' })
  const prepared = record(3, 9, 'prepared', 0, { moveId: m1, seen: 4, snapshot: 'S' })
  const journals = [{ side: 'source' as const, command, targetHostId: host(3).id }]
  const made = await clusterOf([{}, { records: [released], journals }, { records: [prepared] }], [entry(9, 2, 3)])
  const report = await made.recover()
  const move = await made.store.move(m1)
  if (move === null) throw new Error('no move was recovered')
  return { ...made, report, move, command, released, prepared, journals }
}

test('neither owns, source and target answer: the target refuses first, then the source is owner at an epoch of the new term', async () => {
  const { report, refused, store, move, command } = await clusterOfMove()
  expect(report.volumes).toMatchObject([{ outcome: 'taken-back', host: 'host2' }])
  expect(refused).toEqual([{ host: 'host3', command }])
  const volume = await store.volume(id(9))
  expect(volume).toMatchObject({ state: 'ready', ownerHostId: host(2).id, openMoveId: null })
  expect(termOf(volume?.epoch ?? 0)).toBe(1)
  expect(move).toMatchObject({
    state: 'aborted',
    sourceHostId: host(2).id,
    targetHostId: host(3).id,
    epoch: 4,
    returnEpoch: 5,
  })
})

test('neither owns and the target is silent: nobody is made owner, until it is back', async () => {
  const { released, prepared, journals } = await clusterOfMove()
  const { store, recover, refused, answers, parts, events } = await clusterOf(
    [{}, { records: [released], journals }, null],
    [entry(9, 2, 3)],
  )
  const report = await recover()
  expect(report.silent).toEqual(['host3'])
  expect(report.volumes).toMatchObject([{ name: 'db9', outcome: 'unknown', reason: /host3, which does not answer/ }])
  expect(await store.volume(id(9))).toMatchObject({ state: 'unknown', openMoveId: null })
  expect(await store.move(m1)).toBeNull()
  expect(refused).toEqual([])
  expect(await settleUnknown(parts, { dryRun: false })).toEqual([])
  answers.set(host(3).id, { records: [prepared] })
  expect(await settleUnknown(parts, { dryRun: false })).toMatchObject([{ outcome: 'taken-back' }])
  expect(await store.volume(id(9))).toMatchObject({ state: 'ready', ownerHostId: host(2).id })
  expect(events).toEqual(['store.recovered', 'volume.recovered'])
})

test('a target that took over goes on with its move; a sealed source is the owner and its move is undone', async () => {
  const command = (volume: number): MoveCommand => ({
    ...{
      volumeId: id(volume),
      volumeName: `db${volume}`,
      moveId: volume === 1 ? m1 : moveId(`m${'2'.padStart(25, '0')}`),
    },
    ...{ epoch: 4, returnEpoch: 5 },
  })
  const [took, sealed] = [command(1), command(2)]
  const { store, recover } = await clusterOf([
    {},
    {
      records: [
        record(2, 1, 'released', 3, { moveId: took.moveId, seen: 4, snapshot: 'S' }),
        record(2, 2, 'sealed', 3, { moveId: sealed.moveId, seen: 4 }),
      ],
      journals: [
        { side: 'source', command: took, targetHostId: host(3).id },
        { side: 'source', command: sealed, targetHostId: null },
      ],
    },
    {
      records: [
        record(3, 1, 'owner', 4, { moveId: took.moveId, snapshot: 'S' }),
        record(3, 2, 'receiving', 0, { moveId: sealed.moveId, seen: 4 }),
      ],
      journals: [{ side: 'target', command: took, targetHostId: null }],
    },
  ])
  await recover()
  expect(await store.volume(id(1))).toMatchObject({ ownerHostId: host(3).id, epoch: 4, openMoveId: took.moveId })
  expect(await store.move(took.moveId)).toMatchObject({
    ...{
      state: 'committed',
      phase: 'activate',
      finalSnapshot: 'S',
      sourceHostId: host(2).id,
      targetHostId: host(3).id,
    },
  })
  expect(await store.volume(id(2))).toMatchObject({ ownerHostId: host(2).id, epoch: 3, openMoveId: null })
  expect(await store.move(sealed.moveId)).toMatchObject({ state: 'aborted', targetHostId: host(3).id })
})

test('a target that took over, and a source that has retired it already: the move is finished with that source', async () => {
  const replica = record(2, 1, 'replica', 4, { endedMoves: [m1], snapshot: 'S' })
  const heard = [{ volumeId: id(1), seen: 5, ended: [m1] }]
  const owner = record(3, 1, 'owner', 4, { moveId: m1, snapshot: 'S' })
  for (const memory of [{ records: [replica], heard }, { heard }]) {
    const { store, recover } = await clusterOf([{}, memory, { records: [owner] }], [entry(1, 3, 4)])
    await recover()
    expect(await store.move(m1)).toMatchObject({
      ...{ state: 'committed', sourceHostId: host(2).id, targetHostId: host(3).id, finalSnapshot: 'S' },
    })
  }
  // Nobody remembers it: whoever is asked to retire finds nothing to do, the target would refuse for ever.
  const { store, recover } = await clusterOf([{}, {}, { records: [owner] }], [entry(1, 3, 4)])
  await recover()
  expect((await store.move(m1))?.sourceHostId).not.toBe(host(3).id)
})

test('two hosts claim it: the higher epoch wins, the other is named; at one epoch neither', async () => {
  const { recover, store } = await clusterOf([
    { records: [record(1, 1, 'owner', 3), record(1, 2, 'owner', 6)] },
    { records: [record(2, 1, 'owner', 5), record(2, 2, 'owner', 6)] },
    {},
  ])
  const report = await recover()
  expect(report.volumes).toMatchObject([
    { name: 'db1', outcome: 'owner', host: 'host2', superseded: ['host1'] },
    { name: 'db2', outcome: 'unknown', reason: /both claim it/ },
  ])
  expect(await store.volume(id(2))).toMatchObject({ state: 'unknown' })
})

test('a rolled-back disk claims what a silent host has owned since: unknown', async () => {
  const { recover } = await clusterOf([{}, { records: [record(2, 1, 'owner', 3)] }, null], [entry(1, 3, 4)])
  expect((await recover()).volumes).toMatchObject([
    { outcome: 'unknown', reason: 'host host2 claims it at epoch 3, host host3 has owned it at 4 since' },
  ])
})

test('what was deleted does not come back, and nothing of it is touched; an owner that the table does not know is taken in', async () => {
  const { recover, store } = await clusterOf([
    { records: [record(1, 3, 'owner', 1)] },
    { records: [record(2, 1, 'replica', 3)] },
    {},
  ])
  await store.insertVolume({
    ...{
      id: id(2),
      name: 'db2',
      state: 'ready',
      ownerHostId: host(1).id,
      pool: 'btrfs:/pool',
      epoch: 1,
      reservedEpoch: 1,
    },
    ...{ openMoveId: null, sizeBytes: null, labels: {}, options: {}, createdAt: at, version: 1 },
  })
  expect((await recover()).volumes.map(({ name, outcome }) => [name, outcome])).toEqual([
    ['db1', 'left'],
    ['db2', 'dropped'],
    ['db3', 'owner'],
  ])
  expect((await store.volumes()).map(({ name }) => name)).toEqual(['db3'])
  expect(await store.tombstones()).toEqual([])
})

test('two volumes of one name: the one that the table knows keeps it', async () => {
  const { recover, store } = await clusterOf(
    [{ records: [record(1, 1, 'owner', 1)] }, { records: [record(2, 2, 'owner', 1, { name: 'db1' })] }, {}],
    [entry(1, 1, 1)],
  )
  await recover()
  expect((await store.volumes()).map(({ id: of, name }) => [of, name])).toEqual([
    [id(1), 'db1'],
    [id(2), `db1.${id(2).slice(-8)}`],
  ])
})

test('a dry run says the same and writes nothing; a store that nobody has passed is not rebuilt', async () => {
  const { recover, store, refused } = await clusterOf([{ records: [record(1, 1, 'owner', 3)] }, {}, {}])
  const before = await store.identity()
  expect(await recover(true)).toMatchObject({
    needed: true,
    dryRun: true,
    volumes: [{ name: 'db1', outcome: 'owner' }],
  })
  expect(await store.identity()).toEqual(before)
  expect(await store.volumes()).toEqual([])
  expect(refused).toEqual([])
  const current = await clusterOf([{ store: null }, { store: null }, { store: null }])
  expect(await current.recover()).toMatchObject({ needed: false })
  expect((await current.store.identity()).term).toBe(0)
})

/** Two volumes that host1 moved to host2 as a group, all released, when the store was lost. */
const groupLost = (lead: Role, other: Role) => {
  const [one, two] = [1, 2].map((volume) => ({
    ...{ volumeId: id(volume), volumeName: `db${volume}`, moveId: moveId(`m${String(volume).padStart(25, '0')}`) },
    ...{ epoch: 4, returnEpoch: 5 },
  })) as [MoveCommand, MoveCommand]
  const group = { leadId: one.moveId, members: [one, two] }
  const journals = [one, two].map((command) => ({ side: 'source' as const, command, targetHostId: host(2).id, group }))
  const source = (command: MoveCommand, volume: number) =>
    record(1, volume, 'released', 3, { seen: 5, moveId: command.moveId, snapshot: 's' })
  const target = (command: MoveCommand, volume: number, role: Role) =>
    record(2, volume, role, role === 'owner' ? 4 : 0, { seen: 5, moveId: command.moveId, snapshot: 's' })
  const records = [target(one, 1, lead), target(two, 2, other)]
  return clusterOf([{ records: [source(one, 1), source(two, 2)], journals }, { records }, {}])
}

test('a group whose lead the target had taken goes on as one: all of it has committed', async () => {
  const { store, refused, recover } = await groupLost('owner', 'prepared')
  const report = await recover()
  expect(report.volumes).toMatchObject([
    { name: 'db1', outcome: 'owner', host: 'host2', epoch: 4 },
    { name: 'db2', outcome: 'owner', host: 'host2', epoch: 4, reason: /its group has committed/ },
  ])
  expect(refused).toEqual([])
  const moves = (await store.moves({ open: true })).toSorted((a, b) => (a.id < b.id ? -1 : 1))
  expect(moves).toMatchObject(
    [1, 2].map(() => ({ state: 'committed', phase: 'activate', finalSnapshot: 's', groupId: m1 })),
  )
  expect(await store.volumes()).toMatchObject(
    moves.map(({ id: open }) => ({ ownerHostId: host(2).id, openMoveId: open })),
  )
})

test('a group of which the target had taken nothing is given up and taken back as one', async () => {
  const { store, refused, recover } = await groupLost('prepared', 'prepared')
  const report = await recover()
  expect(report.volumes).toMatchObject([
    { outcome: 'taken-back', host: 'host1' },
    { outcome: 'taken-back', host: 'host1' },
  ])
  expect(refused.map(({ host: on }) => on)).toEqual(['host2', 'host2'])
  expect(await store.moves({ open: true })).toEqual([])
})

test('a member that the target has refused after the commit is taken back, not forced upon it', async () => {
  const { recover } = await groupLost('owner', 'refused')
  expect((await recover()).volumes).toMatchObject([
    { outcome: 'owner', host: 'host2' },
    { outcome: 'taken-back', host: 'host1' },
  ])
})

/** A source whose journal, of `changes`, is all that is left of its move; another pool of that host has a replica. */
const sourceAlone = async (changes: Partial<MoveCommand>) => {
  const command: MoveCommand = {
    ...{ volumeId: id(1), volumeName: 'db1', moveId: m1, epoch: 4, returnEpoch: 5 },
    ...{ sourcePool: 'btrfs:/pool', targetPool: 'btrfs:/other', ...changes },
  }
  const journals = [{ side: 'source' as const, command, targetHostId: null }]
  const sealed = record(2, 1, 'sealed', 3, { moveId: m1, seen: 4 })
  const beside = record(2, 1, 'replica', 2, { pool: 'btrfs:/third' })
  const { store, recover } = await clusterOf([{}, { records: [sealed, beside], journals }, {}], [entry(1, 2, 3)])
  await recover()
  return (await store.move(m1)) ?? expect.fail('no move was recovered')
}

test('a move whose target nobody knows is none within one host, though its journal names two pools', async () => {
  const move = await sourceAlone({})
  expect(move.targetHostId).toBe(move.sourceHostId)
  expect(isWithinHost(move)).toBe(false)
  expect(isWithinHost({ ...move, sourcePool: 'btrfs:/pool', targetPool: '' })).toBe(false)
})

test('a move within one host is known as such by its journal, and starts its containers again', async () => {
  const move = await sourceAlone({ oneHost: true })
  expect(isWithinHost(move)).toBe(true)
  expect(restartsContainers(move)).toBe(true)
})

test('a target that is left of a move within one host is known as such by its record, beside the owner that has ended it', async () => {
  const records = [
    record(2, 1, 'owner', 3, { seen: 5, endedMoves: [m1] }),
    record(2, 1, 'prepared', 0, { seen: 4, moveId: m1, pool: 'btrfs:/other' }),
    record(2, 1, 'replica', 2, { pool: 'btrfs:/third' }),
  ]
  const { store, recover } = await clusterOf([{}, { records }, {}], [entry(1, 2, 3)])
  await recover()
  const move = (await store.move(m1)) ?? expect.fail('no move was recovered')
  expect(move).toMatchObject({ state: 'aborted', sourcePool: 'btrfs:/pool', targetPool: 'btrfs:/other' })
  expect(isWithinHost(move)).toBe(true)
})

test('a move within one host that its target took over, and its source has retired, goes on there', async () => {
  const command: MoveCommand = {
    ...{ volumeId: id(1), volumeName: 'db1', moveId: m1, epoch: 4, returnEpoch: 5, oneHost: true },
    ...{ sourcePool: 'btrfs:/pool', targetPool: 'btrfs:/other' },
  }
  const records = [
    record(2, 1, 'replica', 4, { seen: 5, endedMoves: [m1] }),
    record(2, 1, 'owner', 4, { seen: 4, moveId: m1, pool: 'btrfs:/other', snapshot: 'S' }),
  ]
  const heard = [{ volumeId: id(1), seen: 5, ended: [m1] }]
  for (const journals of [[{ side: 'target' as const, command, targetHostId: null }], []]) {
    const { store, recover } = await clusterOf([{}, { records, heard, journals }, {}], [entry(1, 2, 4)])
    await recover()
    const move = (await store.move(m1)) ?? expect.fail('no move was recovered')
    expect(move).toMatchObject({ state: 'committed', sourcePool: 'btrfs:/pool', targetPool: 'btrfs:/other' })
    expect(isWithinHost(move)).toBe(true)
  }
})
