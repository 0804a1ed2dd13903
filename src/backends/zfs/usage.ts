import { hasCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { LiveDatasets } from './live-datasets.ts'
import { internalPrefix, type Names } from './names.ts'
import { wholeNumber } from './parse.ts'
import type { ZfsCommand } from './zfs-command.ts'

const columns = ['name', 'refer', 'createtxg'] as const

/** Bytes that each volume refers to, by one command for any number of them: ZFS keeps the figures. */
export const usageOf = async (
  parts: { readonly names: Names; readonly command: ZfsCommand; readonly live: LiveDatasets },
  ids: readonly VolumeId[],
  exact: boolean,
): Promise<Map<VolumeId, number>> => {
  const { names, command, live } = parts
  // The figures are those of the last transaction on disk.
  if (exact) await Promise.all(ids.map((id) => live.sync(id).catch(unlessMissing)))
  const rows = (await command.list(names.pool, columns, { types: 'filesystem,snapshot' })) ?? []
  const wanted = new Map(ids.map((id) => [names.volume(id), id]))
  const found = new Map<VolumeId, { bytes: number; rank: number }>()
  for (const [path = '', refer, txg] of rows) {
    const [dataset = '', snapshot] = path.split('@')
    const id = wanted.get(dataset.slice(0, dataset.lastIndexOf('/')))
    if (id === undefined || !names.holdsSnapshots(id, dataset)) continue
    const isLive = dataset === names.live(id)
    if (snapshot === undefined ? !isLive : snapshot.startsWith(internalPrefix)) continue
    const rank = snapshot === undefined ? Number.POSITIVE_INFINITY : wholeNumber('zfs list', txg)
    if (rank > (found.get(id)?.rank ?? -1)) found.set(id, { bytes: wholeNumber('zfs list', refer), rank })
  }
  return new Map([...found].map(([id, { bytes }]) => [id, bytes]))
}

const unlessMissing = (error: unknown): void => {
  if (!hasCode(error, 'DATASET_MISSING')) throw error
}
