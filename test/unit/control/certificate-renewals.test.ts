import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Identity } from '../../../src/cluster/cluster.ts'
import { OwnIdentity } from '../../../src/cluster/own-identity.ts'
import { endOfCertificate } from '../../../src/cluster/renewal.ts'
import { CertificateRenewals } from '../../../src/control/certificate-renewals.ts'
import { behindError } from '../../../src/control/recover.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { Cleanup, freshCluster, furtherHost, movableClock } from '../cluster/harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

const dayMs = 86_400_000

/** Two hosts, the first with the control role, and what renews their certificates. */
const cluster = async () => {
  const clock = movableClock()
  const control = await freshCluster(cleanup, clock)
  const dataDir = await cleanup.directory()
  const store = await openSqliteStore({ path: join(dataDir, 'state.db'), clock })
  cleanup.defer(() => store.close())
  const owns = [control, { dataDir, identity: await furtherHost(control, clock), authority: null }].map(
    (member) => new OwnIdentity(member.dataDir, member),
  )
  const row = ({ hostId: id, hostName: name, fingerprint, control: hasRole }: Identity) => ({
    ...{ id, name, fingerprint, control: hasRole, address: '', dataAddress: '', pools: [], joinedAt: '' },
  })
  for (const { current } of owns) await store.putHost(row(current))
  const world = { away: false, behind: false, asked: 0 }
  const agent = ({ id }: { id: string }) => {
    const own = owns.find(({ current }) => current.hostId === id)
    return {
      certificateRequest: async () => {
        world.asked += 1
        if (world.away && id !== control.identity.hostId) throw new DroverError('HOST_UNREACHABLE', 'it is away')
        return own?.request()
      },
      renewCertificate: async ({ certPem }: { certPem: string }) => own?.renew(certPem),
    } as Partial<Agent> as Agent
  }
  const events: string[] = []
  const renewals = new CertificateRenewals({
    ...{ store, clock, logger: silentLogger, agent, authority: control.authority },
    clusterId: control.identity.clusterId,
    mayWrite: async () => {
      if (world.behind) throw behindError('host2')
    },
    emit: async (type, { host }) => void events.push(`${type} ${host}`),
  })
  const leftDays = () =>
    owns.map(({ current }) => Math.round((endOfCertificate(current.certPem) - clock.now()) / dayMs))
  return { clock, store, owns, world, events, renewals, leftDays }
}

test('every host is renewed sixty days before the end, the control role itself too, and the store knows it', async () => {
  const { clock, store, owns, events, renewals, leftDays } = await cluster()
  await renewals.run()
  clock.advance(764 * dayMs)
  await renewals.run()
  expect(leftDays()).toEqual([61, 61])
  expect(events).toEqual([])
  clock.advance(2 * dayMs)
  await renewals.run()
  expect(leftDays()).toEqual([825, 825])
  expect(events.toSorted()).toEqual(['host.certificate-renewed host1', 'host.certificate-renewed host2'])
  const stored = (await store.hosts()).map(({ fingerprint }) => fingerprint)
  expect(stored.toSorted()).toEqual(owns.map(({ current }) => current.fingerprint).toSorted())
})

test('a host that is away is asked again every minute, one that is well every hour', async () => {
  const { clock, world, renewals, leftDays } = await cluster()
  clock.advance(770 * dayMs)
  world.away = true
  await renewals.run()
  expect(leftDays()).toEqual([825, 55])
  await renewals.run()
  expect(world.asked).toBe(2)
  world.away = false
  clock.advance(61_000)
  await renewals.run()
  expect(leftDays()).toEqual([825, 825])
  clock.advance(61_000)
  await renewals.run()
  expect(world.asked).toBe(3)
})

test('nothing is signed while a host has seen a newer store; by hand it is renewed before it is due', async () => {
  const { clock, store, world, renewals, leftDays } = await cluster()
  clock.advance(770 * dayMs)
  world.behind = true
  await renewals.run()
  expect(leftDays()).toEqual([55, 55])
  world.behind = false
  for (const host of await store.hosts()) await renewals.renew(host)
  clock.advance(10 * dayMs)
  for (const host of await store.hosts()) await renewals.renew(host)
  expect(leftDays()).toEqual([825, 825])
})
