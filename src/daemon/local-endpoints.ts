import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { LocalEndpoints } from '../api/handlers.ts'
import { acceptJoin } from '../cluster/accept-join.ts'
import { fingerprintOf } from '../cluster/certificates.ts'
import type { AdoptedVolume, Identity } from '../cluster/cluster.ts'
import { requestJoin } from '../cluster/join.ts'
import type { Membership } from '../cluster/membership.ts'
import type { OwnIdentity } from '../cluster/own-identity.ts'
import { certificateProblems } from '../cluster/renewal.ts'
import { parseToken } from '../cluster/token.ts'
import { openTokenBook } from '../cluster/token-book.ts'
import type { ContainerRuntime } from '../containers/runtime.ts'
import { registerHost } from '../control/register-host.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { DaemonConfig } from '../lib/config.ts'
import { beginAdoption, finishAdoption } from '../volumes/adopt.ts'
import type { Catalog } from '../volumes/catalog.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import type { ControlRole, OwnRow } from './control-role.ts'

export interface LocalEndpointParts {
  readonly config: DaemonConfig
  readonly clock: Clock
  readonly version: string
  readonly own: OwnIdentity
  readonly role: ControlRole
  readonly host: VolumeHost
  readonly membership: Membership
  readonly catalog: Catalog
  readonly row: OwnRow
  readonly engine: Pick<ContainerRuntime, 'ping'>
  isReady(): boolean
}

const tokenTtlMs = 24 * 3_600_000

/** What this `vold` answers by itself: who it is, whether it is well, and both ends of a join. */
export const createLocalEndpoints = (parts: LocalEndpointParts): LocalEndpoints => {
  const { config, clock, version, own, role, host, membership, catalog, row, engine } = parts

  /** Nothing of the cluster that it has been is left; what it was told in that is kept aside. */
  const leave = async (joined: Identity): Promise<void> => {
    await role.stop()
    await rename(join(config.dataDir, 'control'), join(config.dataDir, `control.left-${clock.now()}`))
    host.setIdentity(joined)
    await membership.reset(joined.clusterId)
    await catalog.reset()
  }
  /** What the control role sends a new member, once that is who it is. */
  const tableComes = async (): Promise<void> => {
    for (let waited = 0; !catalog.known && waited < 10_000; waited += 50) await clock.sleep(50)
  }
  /** The joiner takes up its new identity a moment after our answer. */
  const pushSoon = async (): Promise<void> => {
    for (const ms of [0, 250, 500, 1_000, 2_000]) {
      await clock.sleep(ms)
      await role.service?.publishNow()
    }
  }

  return {
    version: () => {
      const { hostName, hostId, clusterId, control } = own.current
      return { version, hostName, hostId, clusterId, control }
    },

    problems: async () => [
      ...(parts.isReady() ? [] : ['vold is still starting']),
      ...certificateProblems(own.current, clock),
      ...(await engineProblems(engine)),
    ],

    init: async () => {
      if (role.service !== null) return role.service.issueToken(tokenTtlMs)
      const { hostName, controlAddress } = own.current
      throw new DroverError(
        'CLUSTER_EXISTS',
        `host ${hostName} is in the cluster of ${controlAddress} already; run vol token for a further host`,
      )
    },

    join: async ({ address, token, adopt }) => {
      const { hostName, hostId, control, caPem, controlAddress } = own.current
      const ownAddresses = { ownAddress: row.address, ownDataAddress: row.dataAddress, pools: row.pools }
      const joiner = { address, token, ...ownAddresses, dataDir: config.dataDir, clock }
      // The cluster that it is in: its certificate has ended, or it or the control host has another address.
      if (!control && parseToken(token).caFingerprint === fingerprintOf(caPem)) {
        return joinedView(await own.replace((now) => requestJoin({ ...joiner, hostName: now.hostName, renews: now })))
      }
      if (!control) {
        throw new DroverError('CLUSTER_EXISTS', `host ${hostName} is in the cluster of ${controlAddress} already`)
      }
      if ((await role.mustStore().hosts()).length > 1) {
        throw new DroverError(
          'CLUSTER_EXISTS',
          `host ${hostName} has the control role of a cluster with other hosts; remove them first with vol host rm`,
        )
      }
      const held = await host.allHeld()
      const names = held.map(({ record }) => record.name)
      if (names.length > 0 && !adopt) {
        throw new DroverError(
          'ADOPT_NEEDED',
          `host ${hostName} holds volumes already (${names.slice(0, 5).join(', ')}); join with --adopt to bring them along, or remove them`,
        )
      }
      if (adopt) await beginAdoption(host)
      const volumes = held.filter(({ record }) => record.role === 'owner' && record.hostId === hostId).map(adopted)
      const joined = await own.replace(async () => {
        const found = await requestJoin({ ...joiner, hostName: config.hostName, volumes })
        await leave(found)
        return found
      })
      await tableComes()
      await finishAdoption(host)
      return joinedView(joined)
    },

    admit: async (request) => {
      const { authority, current: identity } = own
      if (authority === null || role.service === null) {
        throw new DroverError(
          'NOT_CONTROL',
          `host ${identity.hostName} does not have the control role; join ${identity.controlAddress}`,
        )
      }
      const tokens = openTokenBook({ dataDir: config.dataDir, caFingerprint: authority.caFingerprint, clock })
      const store = role.mustStore()
      const answer = await acceptJoin(
        {
          ...{ identity, authority, tokens, clock },
          register: (joiner, volumes) => registerHost(store, joiner, volumes),
          members: () => store.hosts(),
          update: (member) => store.putHost(member),
        },
        request,
      )
      void pushSoon()
      return answer
    },
  }
}

/** A line when the engine does not answer. */
export const engineProblems = async (engine: Pick<ContainerRuntime, 'ping'>): Promise<string[]> => {
  try {
    await engine.ping()
    return []
  } catch (error) {
    return [asDroverError(error).message]
  }
}

const joinedView = ({ hostName, hostId, clusterId, controlAddress }: Identity) => ({
  ...{ hostName, hostId, clusterId, controlAddress },
})

const adopted = ({ record }: Held): AdoptedVolume => ({
  id: record.volumeId,
  name: record.name,
  pool: record.pool,
  epoch: record.epoch,
  seen: record.seen,
  sizeBytes: record.sizeBytes,
  labels: record.labels,
  createdAt: record.createdAt,
})
