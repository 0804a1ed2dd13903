import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { examineCluster } from '../../../src/control/doctor.ts'
import type { ControlParts } from '../../../src/control/parts.ts'
import { Publisher } from '../../../src/control/publisher.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
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
  const containers: { id: string; name: string; moveId: string }[] = []
  const loops: string[] = []
  const mounts: string[] = []
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
    certificates: () => [{ of: 'host', endsAt }],
  }
  const journal = new MoveJournal(host.dataDir, files)
  const agent = {
    recall: async () => ({
      ...{ store: null, members: [], table: host.catalog.table, heard: host.epochs.all() },
      records: (await host.allHeld()).map(({ record }) => record),
      journals: await journal.all(),
    }),
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
    renewCertificate: async () => {
      endsAt = '2999-01-01T00:00:00.000Z'
    },
    reconcile: async () => true,
  }
  return {
    ...{ host, backend, journal, containers, loops, mounts },
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

const noteOf = (move: typeof over): JournalNote => ({
  side: 'target',
  command: { volumeId: id, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 },
  targetHostId: null,
})

test('a host in order: nothing is found', async () => {
  expect(await (await patient()).look()).toMatchObject({ kinds: [], fixed: [] })
})

test('what ended moves left is found, said, and gone after --fix; the volume is untouched', async () => {
  const { host, backend, journal, containers, loops, expire, look } = await patient()
  await backend.snapshots.create(id, `move-${over}-0`, 'move')
  await backend.streams.prepareReceive(id, `move-${over}`)
  await journal.writeTarget({ command: noteOf(over).command, containers: [] })
  containers.push({ id: 'c1', name: `writer.drover-${over}`, moveId: over })
  loops.push('/dev/loop7')
  expire()
  const all = ['certificate', 'container', 'journal', 'loop', 'partial', 'snapshot']
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
    { id: 'c1', name: 'writer', moveId: over },
    { id: 'c2', name: `w.drover-${unheard}`, moveId: unheard },
  )
  mounts.push(`/data/mnt/${id}`, '/data/mnt/mine', '/elsewhere')
  const before = ['container', 'mount', 'snapshot', 'snapshot']
  expect((await look()).kinds).toEqual(before)
  const fixed = await look(true)
  expect(fixed).toMatchObject({ kinds: before, fixed: [] })
  expect(fixed.report.findings.every(({ action, advice }) => action === null && advice !== null)).toBe(true)
  expect(containers).toHaveLength(2)
  expect(await backend.snapshots.list(id)).toHaveLength(2)
  expect(await journal.all()).toHaveLength(1)
})
