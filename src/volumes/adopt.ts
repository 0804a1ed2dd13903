import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterId, HostId } from '../domain/ids.ts'
import { readIfExists, writeJsonDurably } from '../lib/files.ts'
import type { VolumeHost } from './host.ts'

/** Who this host was before it joined: its records are bound to that until they are rebound. */
interface Before {
  readonly clusterId: ClusterId
  readonly hostId: HostId
}

const markerOf = (host: VolumeHost): string => join(host.dataDir, 'adopting.json')

/** Written before a join that takes this host's volumes along, so that a crash within it is taken up by `finishAdoption`. */
export const beginAdoption = async (host: VolumeHost): Promise<void> => {
  const { clusterId, hostId } = host.identity
  await writeJsonDurably(markerOf(host), { clusterId, hostId } satisfies Before)
}

/**
 * Rebinds the records of the cluster that this host was before to the one that it has joined; a join that did not come about
 * leaves them as they are. Only records that were bound to this very host are touched.
 */
export const finishAdoption = async (host: VolumeHost): Promise<void> => {
  const text = await readIfExists(markerOf(host))
  if (text === null) return
  const before: Before = JSON.parse(text)
  const { clusterId, hostId } = host.identity
  if (clusterId !== before.clusterId) {
    for (const { backend, record } of await host.allHeld()) {
      if (record.clusterId !== before.clusterId || record.hostId !== before.hostId) continue
      await host.locks.run(record.volumeId, () => backend.writeRecord({ ...record, clusterId, hostId }))
    }
  }
  await rm(markerOf(host), { force: true })
}
