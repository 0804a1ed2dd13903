import type { Epoch } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import { isEnded, type MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import { nextEpoch } from './epochs.ts'
import type { moveRows, StoredMove } from './move-rows.ts'
import type { identityRow } from './other-rows.ts'
import type { volumeRows } from './volume-rows.ts'

/**
 * What a move's row and its volume's row may become, together. Every function runs inside one transaction of the caller;
 * throwing leaves both as they were.
 */
export const moveTransitions = (
  identity: ReturnType<typeof identityRow>,
  volumes: ReturnType<typeof volumeRows>,
  moves: ReturnType<typeof moveRows>,
) => {
  const stored = (id: MoveId): StoredMove => {
    const found = moves.get(id)
    if (found === null) throw new DroverError('NO_SUCH_MOVE', `no move has the id ${id}; see vol moves`)
    return found
  }

  /** The volume as long as this move is its open one. */
  const movedVolume = (move: MoveRecord): Volume => {
    const volume = volumes.get(move.volumeId)
    if (volume !== null && volume.openMoveId === move.id) return volume
    throw new DroverError('STORE_CONFLICT', `volume ${move.volumeName} is no longer held by move ${move.id}`)
  }

  /** Ends with the source as owner, at the epoch given. */
  const backToSource = (
    move: MoveRecord,
    ownerEpoch: Epoch,
    error: MoveRecord['error'],
    endedAt: string,
  ): MoveRecord => {
    const owner = { ownerHostId: move.sourceHostId, pool: move.sourcePool, epoch: ownerEpoch }
    volumes.replace({ ...movedVolume(move), ...owner, openMoveId: null })
    identity.raiseCommitSequence()
    return moves.replace({ ...move, state: 'aborted', error, endedAt }, ownerEpoch)
  }

  const groupOf = (groupId: MoveId): MoveRecord[] => moves.list({ groupId })

  const abortOne = (id: MoveId, ownerEpoch: Epoch, error: MoveRecord['error'], endedAt: string): MoveRecord => {
    const found = stored(id)
    const { move } = found
    if (move.state === 'aborted' && found.ownerEpoch === ownerEpoch) return move
    if (move.state === 'aborted') {
      throw new DroverError('STORE_CONFLICT', `move ${id} was aborted with epoch ${found.ownerEpoch} already`)
    }
    if (move.state !== 'open' && move.state !== 'verified') throw tooLate(move)
    const volume = movedVolume(move)
    if (ownerEpoch !== volume.epoch && ownerEpoch !== move.returnEpoch) {
      throw new DroverError(
        'STORE_CONFLICT',
        `volume ${volume.name} cannot return at epoch ${ownerEpoch}; only at ${volume.epoch} or ${move.returnEpoch}`,
      )
    }
    return backToSource(move, ownerEpoch, error, endedAt)
  }

  const transitions = {
    begin(seen: Volume, make: (epoch: Epoch, returnEpoch: Epoch) => MoveRecord): MoveRecord {
      const volume = volumes.get(seen.id)
      if (volume === null) throw new DroverError('NO_SUCH_VOLUME', `volume ${seen.name} does not exist; see vol ls`)
      if (volume.openMoveId !== null) {
        throw new DroverError(
          'MOVE_UNDER_WAY',
          `volume ${volume.name} is being moved already; see vol move-status ${volume.openMoveId}`,
          { details: { move: volume.openMoveId } },
        )
      }
      if (volume.version !== seen.version) throw conflict(`volume ${volume.name}`)
      if (volume.state === 'unknown') {
        throw new DroverError('VOLUME_UNKNOWN', `who owns volume ${volume.name} is not known; run vol recover`)
      }
      if (volume.state !== 'ready') {
        throw new DroverError('STORE_CONFLICT', `volume ${volume.name} is ${volume.state}; only a ready one is moved`)
      }
      const epoch = nextEpoch(identity.read().term, Math.max(volume.reservedEpoch, volume.epoch))
      const returnEpoch = epoch + 1
      const move: MoveRecord = {
        ...make(epoch, returnEpoch),
        epoch,
        returnEpoch,
        volumeId: volume.id,
        state: 'open',
        cancelRequested: false,
        version: 1,
      }
      if (move.sourceHostId !== volume.ownerHostId || move.sourcePool !== volume.pool) {
        throw new DroverError('STORE_CONFLICT', `volume ${volume.name} is not where the move would take it from`)
      }
      volumes.replace({ ...volume, openMoveId: move.id, reservedEpoch: returnEpoch })
      identity.raiseCommitSequence()
      return moves.insert(move)
    },

    beginGroup(
      seen: readonly Volume[],
      make: (volume: Volume, epoch: Epoch, returnEpoch: Epoch) => MoveRecord,
    ): MoveRecord[] {
      const begun = seen.map((volume) =>
        transitions.begin(volume, (epoch, returnEpoch) => make(volume, epoch, returnEpoch)),
      )
      const [groupId] = new Set(begun.map((move) => move.groupId))
      if (groupId !== undefined && groupOf(groupId).length === begun.length && begun.some(({ id }) => id === groupId)) {
        return begun
      }
      throw new DroverError('STORE_CONFLICT', 'the moves of a group begin together, under the id of one of them')
    },

    update(next: MoveRecord): MoveRecord {
      const { move, ownerEpoch } = stored(next.id)
      if (move.version !== next.version) throw conflict(`move ${move.id}`)
      const journaled = (state: MoveRecord['state']) => state === 'open' || state === 'verified'
      if (next.state !== move.state && !(journaled(move.state) && journaled(next.state))) {
        throw new DroverError('STORE_CONFLICT', `move ${move.id} does not become ${next.state} by a journal write`)
      }
      // What was agreed at begin stays, and a cancel once stored is not taken back.
      const { volumeId, epoch, returnEpoch, sourceHostId, targetHostId, sourcePool, targetPool } = move
      const agreed = { volumeId, epoch, returnEpoch, sourceHostId, targetHostId, sourcePool, targetPool }
      const group = move.groupId === undefined ? {} : { groupId: move.groupId }
      return moves.replace({ ...next, ...agreed, ...group, cancelRequested: move.cancelRequested }, ownerEpoch)
    },

    requestCancel(id: MoveId): MoveRecord {
      const { move, ownerEpoch } = stored(id)
      if (move.cancelRequested && (!isEnded(move) || move.state === 'aborted')) return move
      if (move.state !== 'open' && move.state !== 'verified') throw tooLate(move)
      for (const other of move.groupId === undefined ? [] : groupOf(move.groupId)) {
        if (other.state !== 'open' && other.state !== 'verified') throw tooLate(other)
        if (other.id !== id) moves.replace({ ...other, cancelRequested: true }, null)
      }
      return moves.replace({ ...move, cancelRequested: true }, ownerEpoch)
    },

    commit(ids: readonly MoveId[]): MoveRecord[] {
      const committed = [...new Set(ids)].map((id) => {
        const { move } = stored(id)
        const group = move.groupId === undefined ? [] : groupOf(move.groupId)
        if (group.some((other) => !ids.includes(other.id))) {
          throw new DroverError('STORE_CONFLICT', `move ${id} commits with all moves of its group or not at all`)
        }
        if (move.cancelRequested) {
          throw new DroverError('MOVE_CANCELLED', `the move of ${move.volumeName} was cancelled before it committed`)
        }
        if (move.state !== 'verified') {
          throw new DroverError('STORE_CONFLICT', `move ${id} is ${move.state}; only a verified one commits`)
        }
        const volume = movedVolume(move)
        if (volume.ownerHostId !== move.sourceHostId || volume.epoch >= move.epoch) {
          throw new DroverError('STORE_CONFLICT', `volume ${volume.name} has changed owner since move ${id} began`)
        }
        const owner = { ownerHostId: move.targetHostId, pool: move.targetPool, epoch: move.epoch }
        volumes.replace({ ...volume, ...owner })
        return moves.replace({ ...move, state: 'committed' }, move.epoch)
      })
      if (committed.length > 0) identity.raiseCommitSequence()
      return committed
    },

    abort(id: MoveId, ownerEpoch: Epoch, error: MoveRecord['error'], endedAt: string): MoveRecord {
      if (stored(id).move.groupId === undefined) return abortOne(id, ownerEpoch, error, endedAt)
      throw new DroverError('STORE_CONFLICT', `move ${id} is of a group, which is aborted as a whole`)
    },

    abortGroup(
      groupId: MoveId,
      ownerEpochs: ReadonlyMap<MoveId, Epoch>,
      error: MoveRecord['error'],
      endedAt: string,
    ): MoveRecord[] {
      return groupOf(groupId).map(({ id }) => {
        const ownerEpoch = ownerEpochs.get(id)
        if (ownerEpoch !== undefined) return abortOne(id, ownerEpoch, error, endedAt)
        throw new DroverError('STORE_CONFLICT', `move ${id} is of group ${groupId}, which is aborted as a whole`)
      })
    },

    giveBack(id: MoveId, error: MoveRecord['error'], endedAt: string, how: Pick<MoveRecord, 'targetLost'>): MoveRecord {
      const { move, ownerEpoch } = stored(id)
      if (move.state === 'aborted' && ownerEpoch === move.returnEpoch) return move
      if (move.state === 'active' || move.state === 'done') throw tooLate(move)
      if (move.state !== 'committed') {
        throw new DroverError('STORE_CONFLICT', `move ${id} is ${move.state}; only a committed one is given back`)
      }
      return backToSource({ ...move, ...how }, move.returnEpoch, error, endedAt)
    },

    activate(id: MoveId): MoveRecord {
      const { move, ownerEpoch } = stored(id)
      if (move.state === 'active' || move.state === 'done') return move
      if (move.state !== 'committed') {
        throw new DroverError('STORE_CONFLICT', `move ${id} is ${move.state}; only a committed one becomes active`)
      }
      identity.raiseCommitSequence()
      return moves.replace({ ...move, state: 'active' }, ownerEpoch)
    },

    finish(id: MoveId, endedAt: string): MoveRecord {
      const { move, ownerEpoch } = stored(id)
      if (move.state === 'done') return move
      if (move.state !== 'active') {
        throw new DroverError('STORE_CONFLICT', `move ${id} is ${move.state}; only an active one ends`)
      }
      volumes.replace({ ...movedVolume(move), openMoveId: null })
      identity.raiseCommitSequence()
      return moves.replace({ ...move, state: 'done', endedAt }, ownerEpoch)
    },
  }
  return transitions
}

const conflict = (what: string) =>
  new DroverError('STORE_CONFLICT', `${what} was changed by somebody else; read it again`)

const tooLate = (move: MoveRecord) =>
  new DroverError(
    'TOO_LATE',
    move.state === 'aborted'
      ? `the move of ${move.volumeName} has ended already; it was undone`
      : `the move of ${move.volumeName} has committed; to go back, move it again`,
    { details: { move: move.id, state: move.state } },
  )
