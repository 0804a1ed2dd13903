import { ulid } from 'ulid'
import { DroverError } from '../domain/errors.ts'
import { type MoveId, moveId } from '../domain/ids.ts'
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

/** A volume of a group, and how it moves. */
export interface Member {
  readonly name: string
  readonly request: MoveRequest
  readonly returnOf: MoveId | null
}

const withLabel = async (
  parts: ControlParts,
  label: string,
  request: MoveRequest,
): Promise<readonly [Member, ...Member[]]> => {
  const [lead, ...others] = await membersOf(parts, label, request.to)
  const member = (name: string): Member => ({ name, request, returnOf: null })
  return [member(lead), ...others.map(member)]
}

/** Every member is looked at and refused before anything is touched; the first one, the lead, has the containers of all. */
const observeAll = async (
  parts: ControlParts,
  [lead, ...others]: readonly [Member, ...Member[]],
): Promise<[Observed, ...Observed[]]> => {
  const names = others.map(({ name }) => name)
  const found: [Observed, ...Observed[]] = [await observe(parts, lead.name, lead.request, names, lead.returnOf)]
  for (const { name, request, returnOf } of others) found.push(await observe(parts, name, request, null, returnOf))
  checkSpace(found)
  return found
}

/** Each of them has space for itself; all that come to one pool together must have it too. */
const checkSpace = (found: readonly Observed[]): void => {
  for (const [spec, coming] of Map.groupBy(found, ({ target }) => target.pool.spec)) {
    const neededBytes = coming.reduce((sum, { plan }) => sum + plan.forecast.bytes, 0)
    const freeBytes = Math.min(...coming.map(({ target }) => target.pool.freeBytes))
    if (neededBytes <= freeBytes) continue
    throw new DroverError(
      'NO_SPACE',
      `no space in pool ${spec} on host ${coming[0]?.to.name} for the ${coming.length} volumes of the group: ${neededBytes} bytes are needed, ${freeBytes} are free; free some or name another pool with --pool`,
      { details: { neededBytes, freeBytes } },
    )
  }
}

export const planGroup = async (parts: ControlParts, label: string, request: MoveRequest): Promise<MovePlan[]> =>
  Promise.all((await observeAll(parts, await withLabel(parts, label, request))).map((each) => planView(parts, each)))

export const startGroup = async (
  parts: ControlParts,
  mover: Mover,
  label: string,
  request: MoveRequest,
): Promise<MoveRecord[]> => {
  await parts.mayWrite()
  return startMembers(parts, mover, await withLabel(parts, label, request))
}

/** All moves open in one transaction, and go on as one. The first has the containers. */
export const startMembers = async (
  parts: ControlParts,
  mover: Mover,
  members: readonly [Member, ...Member[]],
): Promise<[MoveRecord, ...MoveRecord[]]> => {
  await parts.mayWrite()
  const found = await observeAll(parts, members)
  const drawn = found.map((observed, index) => ({
    observed,
    member: members[index] ?? members[0],
    id: moveId(ulid(parts.clock.now()).toLowerCase()),
  }))
  const [lead] = drawn
  if (lead === undefined) throw new DroverError('INTERNAL', 'a group has members')
  const [first, ...others] = await parts.store.beginGroup(
    found.map(({ volume }) => volume),
    (volume, epoch, returnEpoch) => {
      const { observed, member, id } = drawn.find((other) => other.observed.volume.id === volume.id) ?? lead
      const { returnOf } = member
      return { ...newMove(parts, id, observed, epoch, returnEpoch), groupId: lead.id, returnOf }
    },
  )
  if (first === undefined) throw new DroverError('INTERNAL', 'a group of no moves has begun')
  const { from, to } = lead.observed
  for (const { id, volumeName, returnOf } of [first, ...others]) {
    await parts.emit('move.started', { move: id, volume: volumeName, from: from.name, to: to.name, returnOf })
  }
  for (const move of [first, ...others]) mover.start(move)
  return [first, ...others]
}
