import { rm } from 'node:fs/promises'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { type Clock, isoNow } from '../../lib/clock.ts'
import type { BlockProvider, SnapshotNote } from './device.ts'
import type { Layout } from './layout.ts'
import type { Notes } from './notes.ts'
import { asRecord, type Snapshots } from './snapshots.ts'

export interface ArrivalParts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly notes: Notes
  readonly snapshots: Snapshots
  readonly clock: Clock
}

type Arrived = Pick<SnapshotNote, 'uuid' | 'streamUuid' | 'treeUuid' | 'device' | 'fileSystem'>

/** Seals what has arrived in the partial and was proved, and makes it the snapshot `name`; durable when it returns. */
export const nameArrived = async (
  { layout, devices, notes, snapshots, clock }: ArrivalParts,
  { id, partial, name }: { id: VolumeId; partial: string; name: string },
  arrived: Arrived,
): Promise<SnapshotRecord> => {
  const [from, to] = [layout.partial(id, partial), layout.snapshot(id, name)]
  const seal = await devices.seal(arrived.device)
  const note: SnapshotNote = {
    ...arrived,
    ...{ liveUuid: null, createdAt: isoNow(clock), sequence: await snapshots.nextSequence(id), volumeId: id, seal },
  }
  await notes.directory(id, layout.snapshots(id))
  await notes.write(from, note)
  await notes.commit(id, from, to)
  for (const path of layout.beside(id, partial)) await rm(path, { force: true })
  return asRecord(name, note, 'move')
}
