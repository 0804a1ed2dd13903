import type { Handover, HandoverFacet } from '../../backends/backend.ts'
import { DroverError } from '../../domain/errors.ts'
import type { Held, VolumeHost } from '../../volumes/host.ts'
import type { MoveCommand } from '../agent.ts'
import { isHandover, lateSnapshot, refuseEarlierSnapshot } from '../move-snapshots.ts'
import { exclusively, heldIn, write } from '../role-change.ts'

/** What a host is asked beside the rest where the volume itself changes hosts: S then names no snapshot, but the volume as it is let go. */
export interface HandoverCalls {
  /** Sealed: S is written down, and what the target has to know is told. Nothing is let go of yet. `to`: where the target is, in the storage's words. */
  offerHandover(args: MoveCommand & { name: string; to: string | null }): Promise<Handover>
  /** Receiving: the dataset is known here by its notes. It is reached only when it was committed. */
  expectHandover(args: MoveCommand & { name: string; handover: Handover }): Promise<void>
}

export const handoverCalls: Readonly<Record<keyof HandoverCalls, true>> = { offerHandover: true, expectHandover: true }

export const offerHandover = (
  host: VolumeHost,
  args: Parameters<HandoverCalls['offerHandover']>[0],
): Promise<Handover> =>
  exclusively(host, args, async () => {
    const held = await heldIn(host, args, 'sealed')
    refuseEarlierSnapshot({ ...args, snapshot: args.name }, held.record)
    const handover = await facetOf(held).describe(args.volumeId, args.to)
    await write(held, { snapshot: args.name })
    return handover
  })

export const expectHandover = (host: VolumeHost, args: Parameters<HandoverCalls['expectHandover']>[0]): Promise<void> =>
  exclusively(host, args, async () => {
    const held = await heldIn(host, args, 'receiving', 'prepared')
    refuseEarlierSnapshot({ ...args, snapshot: args.name }, held.record)
    await facetOf(held).expect(args.volumeId, args.handover)
  })

/** Rule 10 holds of the notes; the data is where the source has synced it, and is reached once that has let go. */
export const prepareHandover = (host: VolumeHost, args: MoveCommand & { snapshot: string }): Promise<void> =>
  exclusively(host, args, async () => {
    const held = await heldIn(host, args, 'receiving', 'prepared')
    refuseEarlierSnapshot(args, held.record)
    if (held.record.role === 'prepared') return
    const live = await held.backend.live(args.volumeId, { sync: false })
    if (live === null) {
      throw new DroverError(
        'DATASET_MISSING',
        `host ${host.identity.hostName} was not told of volume ${args.volumeName}; nothing was made in its place`,
      )
    }
    await write(held, {
      role: 'prepared',
      datasetUuid: live.uuid,
      snapshot: args.snapshot,
      seen: Math.max(held.record.seen, args.epoch),
    })
  })

/** The source's last act before `released`: from then on it could not write if it wanted to. */
export const letGo = (held: Held): Promise<void> => facetOf(held).letGo(held.record.volumeId)

/** After the commit, before `owner`: where that fails for good the target refuses, and the source has it back. */
export const takeHandover = async (host: VolumeHost, args: MoveCommand & { snapshot: string }): Promise<void> => {
  if (!isHandover(args.snapshot)) return
  await exclusively(host, args, async () => {
    const held = await heldIn(host, args, 'prepared', 'owner')
    if (held.record.snapshot !== args.snapshot) throw lateSnapshot(args, held.record)
    if (held.record.role === 'prepared') await facetOf(held).take(args.volumeId)
  })
}

/** By an operator's word: its target is gone for good, and so whatever had it there. The writers come back after it. */
export const reclaimHandover = async (host: VolumeHost, { volumeId }: MoveCommand): Promise<void> => {
  const held = await host.mustHold(volumeId)
  if (held.record.role === 'owner') await facetOf(held).reclaim(volumeId)
}

const facetOf = ({ backend }: Held): HandoverFacet => {
  if (backend.handover !== undefined) return backend.handover
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} hands nothing over`)
}
