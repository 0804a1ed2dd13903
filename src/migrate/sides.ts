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

/** Of another volume of the same group, which may lie in another pool. @throws NO_SUCH_POOL */
export const asSourceOf = (host: VolumeHost, member: Pools): VolumeHost => {
  if (member.sourcePool !== undefined) host.backend(member.sourcePool)
  return asSource(host, member)
}

/**
 * As its target sees it: the copy in the pool where it goes. A pool that is not opened may hold it all the same, and nothing may be
 * concluded from that it is not found. @throws NO_SUCH_POOL
 */
export const asTarget = (host: VolumeHost, { targetPool, oneHost }: Pools): VolumeHost => {
  if (targetPool === undefined) return host
  host.backend(targetPool)
  return host.inPool(targetPool, oneHost === true ? endsOfTarget(host.epochs) : host.epochs)
}
