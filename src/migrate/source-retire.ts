import type { Held } from '../volumes/host.ts'
import type { Agent } from './agent.ts'
import { dropMoveSnapshots } from './move-snapshots.ts'
import { ended, exclusively, heldIn, write } from './role-change.ts'
import { dropSourceJournals, type SourceParts } from './source-parts.ts'

type RetireArgs = Parameters<Agent['retire']>[0]

/** The target owns the volume, and is known to have written it: what is here becomes the base of the way back. */
export const retire = async (parts: SourceParts, args: RetireArgs): Promise<void> => {
  const { host, watchdog } = parts
  await exclusively(host, args, async () => {
    const found = await host.held(args.volumeId)
    if (found?.record.moveId === args.moveId) await (isSuperseded(found, args) ? giveWay : becomeReplica)(parts, args)
    await host.epochs.record(args.volumeId, args.returnEpoch, args.moveId)
    watchdog.forget(args.moveId)
    await dropSourceJournals(parts, args)
  })
}

/**
 * A source that has let go says `released`. This one was put back to before the move, disk and all, and has begun or sealed at a late
 * word: somebody owns the volume at a higher epoch since.
 */
const isSuperseded = ({ record }: Held, { epoch }: RetireArgs): boolean =>
  (record.role === 'owner' || record.role === 'sealed') && record.epoch < epoch

/** As a host that hears of it by the table of names: its copy is never mounted again, never overwritten, never removed by Drover. */
const giveWay = async ({ host }: SourceParts, args: RetireArgs): Promise<void> => {
  const held = await heldIn(host, args, 'owner', 'sealed')
  await write(held, { ...ended(held.record, args), role: 'diverged', seen: Math.max(held.record.seen, args.epoch) })
  host.logger.error(
    { move: args.moveId, volume: args.volumeName, epoch: held.record.epoch, ownedAt: args.epoch },
    'this copy was put back to before the move and is superseded: kept as diverged; stop the containers that still run on it',
  )
}

const becomeReplica = async ({ host, runtime, journal }: SourceParts, args: RetireArgs): Promise<void> => {
  const held = await heldIn(host, args, 'released', 'replica')
  const specs = (await journal.source(args.moveId))?.specs ?? []
  if (args.carried) await Promise.all(specs.map((spec) => runtime.remove(spec.id)))
  const replica: Held = await write(held, {
    role: 'replica',
    epoch: args.epoch,
    snapshot: args.base,
    datasetUuid: null,
    keepUntil: args.keepUntil,
  })
  await held.backend.destroyLive(args.volumeId)
  const kept = await dropMoveSnapshots(replica, args, args.base)
  await write(kept, ended(kept.record, args))
}
