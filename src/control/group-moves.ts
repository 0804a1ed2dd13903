import { ulid } from 'ulid'
import { DroverError } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import { moveId } from '../domain/ids.ts'
import type { MoveRecord, MoveRequest } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import type { Mover } from '../migrate/mover.ts'
import type { MovePlan } from './control.ts'
import { hostByName } from './lookup.ts'
import { newMove, type Observed, observe, planView } from './moves-control.ts'
import type { ControlParts } from './parts.ts'

/** `KEY=VALUE`, or `KEY` for any value of it. */
const hasLabel = ({ labels }: Volume, label: string): boolean => {
  const [key = '', ...value] = label.split('=')
  return label.includes('=') ? labels[key] === value.join('=') : labels[key] !== undefined
}

/** Those with the label that are not on the target already; all of them on one host. @throws NO_SUCH_VOLUME, MOVE_TO_ITSELF, GROUP_SPLIT */
const membersOf = async (parts: ControlParts, label: string, to: string): Promise<[string, ...string[]]> => {
  const target = await hostByName(parts.store, to)
  const labelled = (await parts.store.volumes()).filter((volume) => hasLabel(volume, label))
  if (labelled.length === 0) {
    throw new DroverError(
      'NO_SUCH_VOLUME',
      `no volume has the label ${label}; it is given when a volume is made (vol create --label, docker volume create -o label=KEY=VALUE)`,
    )
  }
  const [first, ...others] = labelled.filter(({ ownerHostId }) => ownerHostId !== target.id)
  if (first === undefined) {
    throw new DroverError('MOVE_TO_ITSELF', `all volumes with the label ${label} are on host ${to} already`)
  }
  const owners = new Set([first, ...others].map(({ ownerHostId }) => ownerHostId))
  if (owners.size > 1) {
    const where = [first, ...others].map(
      async ({ name, ownerHostId }) => `${name} on ${await parts.hostName(ownerHostId)}`,
    )
    throw new DroverError(
      'GROUP_SPLIT',
      `the volumes with the label ${label} are on several hosts: ${(await Promise.all(where)).join(', ')}; a group is cut at one point, so move them to one host first, one by one`,
    )
  }
  return [first.name, ...others.map(({ name }) => name)]
}

/** Every member is looked at and refused before anything is touched; the first one, the lead, has the containers of all. */
const observeAll = async (parts: ControlParts, label: string, request: MoveRequest): Promise<Observed[]> => {
  const [lead, ...others] = await membersOf(parts, label, request.to)
  const found = [await observe(parts, lead, request, others)]
  for (const name of others) found.push(await observe(parts, name, request, null))
  checkSpace(found)
  return found
}

/** Each of them has space for itself; all together must have it too. */
const checkSpace = (found: readonly Observed[]): void => {
  const neededBytes = found.reduce((sum, { plan }) => sum + plan.forecast.bytes, 0)
  const [first] = found
  const freeBytes = Math.min(...found.map(({ target }) => target.pool.freeBytes))
  if (first === undefined || neededBytes <= freeBytes) return
  throw new DroverError(
    'NO_SPACE',
    `no space in pool ${first.target.pool.spec} on host ${first.to.name} for the ${found.length} volumes of the group: ${neededBytes} bytes are needed, ${freeBytes} are free; free some or name another pool with --pool`,
    { details: { neededBytes, freeBytes } },
  )
}

export const planGroup = async (parts: ControlParts, label: string, request: MoveRequest): Promise<MovePlan[]> =>
  (await observeAll(parts, label, request)).map(planView)

/** All moves open in one transaction, and go on as one. */
export const startGroup = async (
  parts: ControlParts,
  mover: Mover,
  label: string,
  request: MoveRequest,
): Promise<MoveRecord[]> => {
  await parts.mayWrite()
  const found = await observeAll(parts, label, request)
  const ids = new Map<string, MoveId>(
    found.map(({ volume }) => [volume.id, moveId(ulid(parts.clock.now()).toLowerCase())]),
  )
  const idOf = (volume: Volume): MoveId => ids.get(volume.id) ?? moveId(ulid(parts.clock.now()).toLowerCase())
  const [lead] = found
  if (lead === undefined) throw new DroverError('INTERNAL', `the group ${label} has no members`)
  const moves = await parts.store.beginGroup(
    found.map(({ volume }) => volume),
    (volume, epoch, returnEpoch) => {
      const observed = found.find((other) => other.volume.id === volume.id) ?? lead
      return { ...newMove(parts, idOf(volume), observed, request, epoch, returnEpoch), groupId: idOf(lead.volume) }
    },
  )
  for (const { id, volumeName } of moves) {
    await parts.emit('move.started', { move: id, volume: volumeName, from: lead.from.name, to: lead.to.name })
  }
  for (const move of moves) mover.start(move)
  return moves
}
