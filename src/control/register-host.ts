import type { AdoptedVolume } from '../cluster/cluster.ts'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { volumeId } from '../domain/ids.ts'
import { checkVolumeName } from '../domain/names.ts'
import type { Store } from '../state/store.ts'

/**
 * A new host, and the volumes that it goes on owning. Names that are taken are all told before anything is written.
 * @throws VOLUME_EXISTS, HOST_EXISTS, BAD_NAME
 */
export const registerHost = async (store: Store, host: Host, volumes: readonly AdoptedVolume[]): Promise<void> => {
  const taken: string[] = []
  for (const { name } of volumes) {
    if ((await store.volumeByName(checkVolumeName(name))) !== null) taken.push(name)
  }
  if (taken.length > 0) {
    throw new DroverError(
      'VOLUME_EXISTS',
      `host ${host.name} brings volumes whose names are taken in the cluster: ${taken.join(', ')}; remove them on one side first`,
      {
        details: { names: taken },
      },
    )
  }
  await store.putHost(host)
  for (const { id, name, pool, epoch, seen, sizeBytes, labels, createdAt } of volumes) {
    await store.insertVolume({
      id: volumeId(id),
      name,
      state: 'ready',
      ownerHostId: host.id,
      pool,
      epoch,
      reservedEpoch: Math.max(epoch, seen),
      openMoveId: null,
      sizeBytes,
      labels,
      options: sizeBytes === null ? {} : { size: String(sizeBytes) },
      createdAt,
      version: 1,
    })
  }
}
