import { notWhatWasSent } from '../backends/tree/proof.ts'
import { type Role, treeIdentity } from '../domain/dataset.ts'
import { asDroverError } from '../domain/errors.ts'
import type { VolumeHost } from '../volumes/host.ts'
import type { MoveCommand, ReceiveArgs } from './agent.ts'
import { write } from './role-change.ts'

/** Of a target, in the move and after it was undone. Within a host the source has the base too. */
const roles: readonly Role[] = ['receiving', 'prepared', 'refused', 'replica']

/**
 * After a stream of files that failed: when its proof did, the base that it was received upon is noted as none. Which of the two ends is to
 * blame is not known; but the next move upon it would fail as this one did, and a whole one, or one upon another base, need not.
 */
export const noteUnprovedBase = async (
  host: VolumeHost,
  { volumeId, stream, baseUuid }: Pick<MoveCommand & ReceiveArgs, 'volumeId' | 'stream' | 'baseUuid'>,
  failure: unknown,
): Promise<void> => {
  if (stream !== 'tree' || baseUuid == null || !asDroverError(failure).message.includes(notWhatWasSent)) return
  await host.locks.run(volumeId, async () => {
    for (const held of await host.copies(volumeId)) {
      const { role, snapshots } = held.record
      if (!host.isBound(held) || !roles.includes(role)) continue
      const base = snapshots.find((snapshot) => treeIdentity(snapshot) === baseUuid && snapshot.unproved !== true)
      if (base === undefined) continue
      await write(held, {
        snapshots: snapshots.map((other) => (other === base ? { ...base, unproved: true as const } : other)),
      })
    }
  })
}
