import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ContainerRuntime, MadeContainer } from '../../../src/containers/runtime.ts'
import { examineCluster } from '../../../src/control/doctor.ts'
import type { ControlParts } from '../../../src/control/parts.ts'
import { Publisher } from '../../../src/control/publisher.ts'
import type { Host } from '../../../src/domain/host.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { atBegin } from '../../../src/domain/move.ts'
import type { Volume } from '../../../src/domain/volume.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent, JournalNote } from '../../../src/migrate/agent.ts'
import { dropEndedJournal } from '../../../src/migrate/ended-journals.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { createVolume } from '../../../src/volumes/lifecycle.ts'
import { examine, type Surroundings, tidy } from '../../../src/volumes/remains.ts'
import { memoryHost } from '../../support/memory-host.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const id = volumeId(`v${'1'.padStart(25, '0')}`)
const over = moveId(`m${'1'.padStart(25, '0')}`)
const unheard = moveId(`m${'2'.padStart(25, '0')}`)

/** One host with a volume, on which a move has ended, and the doctor over it. */
const patient = async () => {
  const { host, backend, files } = await memoryHost()
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  const row = {
    ...{ id: host.identity.hostId, name: 'host1', address: '', dataAddress: '', pools: [], control: true },
    ...{ fingerprint: '', joinedAt: '' },
  }
  await store.putHost(row)
  await createVolume(host, { volumeId: id, name: 'db', pool: backend.spec.text, epoch: 1, sizeBytes: null, labels: {} })
  await host.epochs.record(id, 3, over)
  const containers: MadeContainer[] = []
  const loops: string[] = []
  const mounts: string[] = []
  const trash = new Set<string>()
  const verifications = new Set<string>()
  const verified = new Set<string>()
  const plugin = { isLost: false, isStubborn: false }
  Object.assign(backend, {
    removals: { stuck: async () => [...trash], retry: async () => (plugin.isStubborn ? undefined : trash.clear()) },
  })
  const runtime = {
    madeByMoves: async () => [...containers],
    remove: async (of: string) => {
      const at = containers.findIndex((container) => container.id === of)
      if (at >= 0) containers.splice(at, 1)
    },
  } as Partial<ContainerRuntime> as ContainerRuntime
  let endsAt = '2999-01-01T00:00:00.000Z'
  const around: Surroundings = {
    mountPoints: async () => mounts,
    idleLoops: async () => [...loops],
    detachLoop: async (device) => void loops.splice(loops.indexOf(device), 1),
    verifications: async () => [...verifications],
    dropVerification: async (kept) => void verifications.delete(kept),
    pluginProblem: async () => (plugin.isLost ? 'no engine finds the volume plugin' : null),
    servePluginAgain: async () => {
      plugin.isLost = false
    },
    certificates: () => [{ of: 'host', endsAt }],
  }
  const journal = new MoveJournal(host.dataDir, files)
  const agent = {
    recall: async () => ({
      ...{ store: null, members: [], table: host.catalog.table, heard: host.epochs.all() },
      records: (await host.allHeld()).map(({ record }) => record),
      journals: await journal.all(),
    }),
    finishTarget: async ({ moveId: of, forReturn }: { moveId: typeof over; forReturn: boolean }) =>
      forReturn ? undefined : journal.drop(of, 'carried'),
    examine: () => examine(host, runtime, around),
    tidy: (what: Parameters<Agent['tidy']>[0]) =>
      'remain' in what ? tidy(host, runtime, around, what.remain) : dropEndedJournal(host, journal, what.journal),
  } as Partial<Agent> as Agent
  const parts: ControlParts = {
    ...{ store, clock: systemClock, logger: silentLogger, agent: () => agent, ownHost: async () => row },
    publisher: new Publisher({ store, agent: () => agent, logger: silentLogger, clock: systemClock }),
    hostById: async () => row,
    hostName: async () => 'host1',
    mayWrite: async () => {},
    emit: async () => {},
    isVerified: (of) => verified.has(of),
    prices: async () => null,
    renewCertificate: async () => {
      endsAt = '2999-01-01T00:00:00.000Z'
    },
    reconcile: async () => true,
  }
  return {
    ...{ host, store, backend, journal, containers, loops, mounts, trash, verifications, verified, plugin },
    expire: () => {
      endsAt = new Date(systemClock.now() + 86_400_000).toISOString()
    },
    look: async (fix = false) => {
      const report = await examineCluster(parts, { fix })
      return {
        kinds: report.findings.map(({ kind }) => kind).toSorted(),
        fixed: report.fixed.map(({ kind }) => kind).toSorted(),
        report,
      }
    },
  }
}

const volumeOf = (ownerHostId: Host['id']): Volume => ({
  ...{ id, name: 'db', state: 'ready', ownerHostId, pool: '', epoch: 1, reservedEpoch: 1, openMoveId: null },
  ...{ sizeBytes: null, labels: {}, options: {}, createdAt: '', version: 1 },
})

const noteOf = (move: typeof over): JournalNote => ({
  side: 'target',
  command: { volumeId: id, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 },
  targetHostId: null,
})

test('a host in order: nothing is found', async () => {
  expect(await (await patient()).look()).toMatchObject({ kinds: [], fixed: [] })
})

test('what ended moves left is found, said, and gone after --fix; the volume is untouched', async () => {
  const { host, backend, journal, containers, loops, trash, verifications, plugin, expire, look } = await patient()
  await backend.snapshots.create(id, `move-${over}-0`, 'move')
  await backend.streams.prepareReceive(id, `move-${over}`)
  await journal.writeTarget({ command: noteOf(over).command, containers: [] })
  containers.push({ id: 'c1', name: `writer.drover-${over}`, moveId: over, neverStarted: true })
  loops.push('/dev/loop7')
  expire()
  trash.add('v~1-1')
  verifications.add(over).add(`verify.${id}.${host.identity.hostId}`)
  plugin.isLost = true
  const all = [
    ...['certificate', 'container', 'journal', 'loop', 'partial', 'plugin', 'snapshot', 'trash'],
    ...['verification', 'verification'],
  ]
  const seen = await look()
  expect(seen.kinds).toEqual(all)
  expect(seen.report.findings.every(({ action }) => action !== null)).toBe(true)
  expect((await look()).kinds).toEqual(all)
  expect(await look(true)).toMatchObject({ kinds: [], fixed: all })
  expect((await look()).kinds).toEqual([])
  expect((await host.held(id))?.record.role).toBe('owner')
  expect(await backend.live(id)).not.toBeNull()
})

test('what is foreign, in use, or of a move that nobody has heard of is shown at most, never touched', async () => {
  const { backend, journal, containers, mounts, look } = await patient()
  await backend.snapshots.create(id, 'mine', 'user')
  await backend.snapshots.create(id, `move-${unheard}-0`, 'move')
  await journal.writeTarget({ command: noteOf(unheard).command, containers: [] })
  containers.push(
    { id: 'c1', name: 'writer', moveId: over, neverStarted: false },
    { id: 'c2', name: `w.drover-${unheard}`, moveId: unheard, neverStarted: true },
  )
  mounts.push(`/data/mnt/${id}`, '/data/mnt/mine', '/elsewhere')
  const before = ['container', 'journal', 'mount', 'snapshot', 'snapshot']
  expect((await look()).kinds).toEqual(before)
  const fixed = await look(true)
  expect(fixed).toMatchObject({ kinds: before, fixed: [] })
  expect(fixed.report.findings.every(({ action, advice }) => action === null && advice !== null)).toBe(true)
  expect(containers).toHaveLength(2)
  expect(await backend.snapshots.list(id)).toHaveLength(2)
  expect(await journal.all()).toHaveLength(1)
})

test('a removal that does not end stays found, with the reason', async () => {
  const { trash, plugin, look } = await patient()
  trash.add('v~1-1')
  plugin.isStubborn = true
  const { kinds, fixed, report } = await look(true)
  expect({ kinds, fixed }).toEqual({ kinds: ['trash'], fixed: [] })
  expect(report.findings[0]?.problem).toMatch(/did not end this time either/)
})

test('progress of a content proof that is under way is no leftover', async () => {
  const { host, verifications, verified, look } = await patient()
  verifications.add(`verify.${id}.${host.identity.hostId}`)
  verified.add(id)
  expect((await look(true)).kinds).toEqual([])
  expect(verifications.size).toBe(1)
})

test('what is kept of containers for a way back is found once that is not taken any more', async () => {
  const { host, store, journal, look } = await patient()
  const volume = volumeOf(host.identity.hostId)
  await store.insertVolume(volume)
  const move = await store.beginMove(volume, (epoch, returnEpoch) => ({
    ...{ ...atBegin, id: over, volumeId: id, volumeName: 'db', epoch, returnEpoch, forecast: null },
    ...{ sourceHostId: host.identity.hostId, targetHostId: host.identity.hostId, sourcePool: '', targetPool: '' },
    request: { to: 'host1', quiesce: 'stop', containers: 'move', dropMounts: [], healthTimeoutMs: 1, onlyIdle: false },
    startedAt: '',
  }))
  await journal.writeTarget({ command: noteOf(over).command, containers: [] })
  await journal.keepCarried(over)
  await journal.drop(over, 'target')
  expect((await look(true)).kinds).toEqual([])
  await store.updateMove({ ...move, finalSnapshot: 's', returnDue: true })
  const ended = await store.abortMove(over, 1, { code: 'NOT_HEALTHY', message: '' }, '')
  expect((await look(true)).kinds).toEqual([])
  await store.updateMove({ ...ended, returnDue: false })
  expect((await look()).kinds).toEqual(['journal'])
  expect((await look(true)).fixed).toEqual(['journal'])
  expect(await journal.all()).toEqual([])
})
