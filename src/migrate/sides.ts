import { endsOfTarget } from '../volumes/epoch-ledger.ts'
import type { VolumeHost } from '../volumes/host.ts'
import type { MoveCommand } from './agent.ts'

type Pools = Pick<MoveCommand, 'sourcePool' | 'targetPool' | 'oneHost'>

/**
 * The host as a move's source sees it: of the copies that it may hold in several pools, the one that is moved. A command that does not
 * say which is about the one that counts.
 */
export const asSource = (host: VolumeHost, { sourcePool }: Pools): VolumeHost =>
  sourcePool === undefined ? host : host.inPool(sourcePool)

/** As its target sees it: the copy in the pool where it goes. */
export const asTarget = (host: VolumeHost, { targetPool, oneHost }: Pools): VolumeHost => {
  if (targetPool === undefined) return host
  return host.inPool(targetPool, oneHost === true ? endsOfTarget(host.epochs) : host.epochs)
}
