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
    if (found?.record.moveId === args.moveId) await becomeReplica(parts, args)
    await host.epochs.record(args.volumeId, args.returnEpoch, args.moveId)
    watchdog.forget(args.moveId)
    await dropSourceJournals(parts, args)
  })
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
