import { randomBytes } from 'node:crypto'
import { DroverError } from '../domain/errors.ts'
import { maxTerm } from './epochs.ts'
import type { moveRows } from './move-rows.ts'
import type { hostRows, identityRow } from './other-rows.ts'
import type { Recovered } from './store.ts'
import type { volumeRows } from './volume-rows.ts'

/** Runs inside a transaction of the caller; throwing leaves all as it was. */
export const writeRecovered = (
  found: Recovered,
  rows: {
    identity: ReturnType<typeof identityRow>
    volumes: ReturnType<typeof volumeRows>
    moves: ReturnType<typeof moveRows>
    hosts: ReturnType<typeof hostRows>
  },
): void => {
  const { identity, volumes, moves, hosts } = rows
  if (found.term === null) identity.raiseCommitSequence()
  else {
    const { term } = identity.read()
    if (found.term <= term || found.term > maxTerm) {
      throw new DroverError('STORE_CONFLICT', `term ${found.term} does not follow ${term}; run vol recover again`)
    }
    identity.replace(randomBytes(16).toString('hex'), found.term)
  }
  for (const id of found.forgetHosts) hosts.delete(id)
  for (const host of found.hosts) hosts.put(host)
  for (const id of found.forgetMoves) moves.delete(id)
  const closed = found.moves.filter(({ move }) => move.state === 'done' || move.state === 'aborted')
  // Those that end go before one that goes on: a volume has one open move.
  for (const { move, ownerEpoch } of [...closed, ...found.moves.filter((other) => !closed.includes(other))]) {
    const version = moves.get(move.id)?.move.version ?? 0
    if (version === 0) moves.insert({ ...move, version })
    moves.replace({ ...move, version }, ownerEpoch)
  }
  const versions = new Map(found.volumes.map(({ id }) => [id, (volumes.get(id)?.version ?? 0) + 1]))
  for (const id of [...versions.keys(), ...found.forgetVolumes]) volumes.delete(id)
  for (const volume of found.volumes) volumes.insert({ ...volume, version: versions.get(volume.id) ?? 1 })
}
