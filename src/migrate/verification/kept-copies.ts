import { isDifferingReplica, type SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { VolumeHost } from '../../volumes/host.ts'
import { checkBound, write } from '../role-change.ts'

const keptAfterMs = 24 * 3_600_000

/** A copy that differs may be the good one: no time removes it, and nothing is received upon it. */
export const noteContent = (
  host: VolumeHost,
  { volumeId, snapshot, differs }: { volumeId: VolumeId; snapshot: string; differs: boolean },
): Promise<void> =>
  host.locks.run(volumeId, async () => {
    const held = await host.held(volumeId)
    if (held === null) return
    checkBound(host, held)
    const known = held.record.snapshots.find(({ name }) => name === snapshot)
    if (known === undefined || (known.differs === true) === differs) return
    const { differs: _, ...plain } = known
    const noted: SnapshotRecord = differs ? { ...plain, differs } : plain
    const keepUntil = differs ? null : new Date(host.clock.now() + keptAfterMs).toISOString()
    await write(held, {
      snapshots: held.record.snapshots.map((other) => (other === known ? noted : other)),
      ...(held.record.role === 'replica' ? { keepUntil } : {}),
    })
  })

/** Those that differ, in whichever pools, also beside a copy that counts: that one stays. */
export const discardReplica = (host: VolumeHost, volumeId: VolumeId): Promise<void> =>
  host.locks.run(volumeId, async () => {
    const copies = await host.copies(volumeId)
    const [counting] = copies
    if (counting === undefined) return
    const discarded = copies.filter(
      (copy) => host.isBound(copy) && copy.record.moveId === null && isDifferingReplica(copy.record),
    )
    if (discarded.length === 0) {
      checkBound(host, counting)
      throw new DroverError(
        'CONTENT_DIFFERS',
        `the copy of volume ${counting.record.name} on host ${host.identity.hostName} is no replica that was found to differ; it was left alone`,
      )
    }
    for (const { backend } of discarded) await backend.destroy(volumeId)
  })
