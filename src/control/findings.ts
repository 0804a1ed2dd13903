import { isWaitingName } from '../containers/waiting-name.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import type { Host } from '../domain/host.ts'
import { isId, type MoveId, moveId } from '../domain/ids.ts'
import { isEnded, type MoveRecord } from '../domain/move.ts'
import { formatDuration, formatSize } from '../domain/units.ts'
import type { JournalNote, Recall } from '../migrate/agent.ts'
import type { Store } from '../state/store.ts'
import type { Examination, Remain } from '../volumes/remains.ts'

/** Something that is not as it should be. */
export interface Finding {
  readonly kind: string
  readonly host: string | null
  /** For a person. */
  readonly what: string
  /** What `--fix` does; null: nothing, `advice` says what a person can do. */
  readonly action: string | null
  readonly advice: string | null
}

export interface Fixable extends Finding {
  readonly fix:
    | { readonly remain: Remain }
    | { readonly journal: JournalNote }
    | { readonly carriedFor: MoveRecord }
    | 'certificate'
    | null
}

/** `vol verify` is comparing this volume. */
export type IsVerified = (volumeId: string) => boolean

/** When it was asked and when it had answered, by the control host's clock: an answer may take long. */
interface Asked {
  readonly from: number
  readonly to: number
}

const skewMs = 5_000
const nearEndMs = 30 * 86_400_000
const nearlyFull = 0.05

const byHand = (kind: string, host: string | null, what: string, advice: string): Fixable => ({
  ...{ kind, host, what, advice, action: null, fix: null },
})

/** `move-<id>`, `move-<id>-<round>`: named after the move that made it. */
const makerOf = (name: string): MoveId | null => {
  const found = /^move-([0-9a-z]{26})(?:-\d+)?$/.exec(name)?.[1]
  return found === undefined ? null : moveId(found)
}

/** Only a recorded end makes an orphan: of a move that the store does not know nothing is removed. */
type Ending = 'ended' | 'open' | 'unheard of'

const endingOf = async (store: Store, recall: Recall, id: MoveId): Promise<Ending> => {
  const move = await store.move(id)
  // One that is still to be taken back is not over, whatever it left.
  if (move !== null) return isEnded(move) && !move.returnDue ? 'ended' : 'open'
  return recall.heard.some(({ ended }) => ended.includes(id)) ? 'ended' : 'unheard of'
}

/** What one host that answers shows. */
export const findingsOf = async (
  store: Store,
  host: Host,
  seen: Examination,
  recall: Recall,
  asked: Asked,
  isVerified: IsVerified,
): Promise<Fixable[]> => {
  const found: Fixable[] = []
  for (const remain of seen.remains) {
    const finding = await ofRemain(store, host, recall, isVerified, remain)
    if (finding !== null) found.push(finding)
  }
  for (const journal of recall.journals) {
    const finding = await ofJournal(store, host, recall, journal)
    if (finding !== null) found.push(finding)
  }
  for (const record of seen.records) found.push(...(await ofRecord(store, host, recall, record)))
  return [...found, ...ofMachine(host, seen, asked)]
}

const ofJournal = async (store: Store, host: Host, recall: Recall, journal: JournalNote): Promise<Fixable | null> => {
  const { command, side } = journal
  const { moveId: id, volumeName } = command
  const found = { kind: 'journal', host: host.name, action: 'remove it', advice: null }
  if (side === 'carried') {
    const move = await store.move(id)
    const what = `what move ${id} of volume ${volumeName} brought there, kept for a way back that nobody takes any more`
    if (move === null)
      return byHand('journal', host.name, `${what}; the move is not known`, 'it goes with the next move')
    return (await isAwaited(store, move)) ? null : { ...found, what, fix: { carriedFor: move } }
  }
  const what = `the ${side}'s journal of move ${id} of volume ${volumeName}`
  if (recall.records.some(({ volumeId, moveId }) => volumeId === command.volumeId && moveId === id)) return null
  const ending = await endingOf(store, recall, id)
  if (ending === 'ended') return { ...found, what: `${what}, which has ended`, fix: { journal } }
  if (ending === 'open') return null
  return byHand('journal', host.name, `${what}; no end of that move is recorded`, 'vol recover, or see what it is')
}

/** It may still be taken back, or is being taken back. */
export const isAwaited = async (store: Store, move: MoveRecord): Promise<boolean> => {
  if (!isEnded(move) || move.returnDue) return true
  const back = move.returnedBy === null ? null : await store.move(move.returnedBy)
  return back !== null && !isEnded(back)
}

const ofRemain = async (
  store: Store,
  host: Host,
  recall: Recall,
  isVerified: IsVerified,
  remain: Remain,
): Promise<Fixable | null> => {
  const fixed = (what: string, action: string): Fixable => ({
    ...{ kind: remain.kind, host: host.name, what, action, advice: null, fix: { remain } },
  })
  if (remain.kind === 'loop') return fixed(`loop device ${remain.device} of Drover's backs nothing`, 'detach it')
  if (remain.kind === 'trash')
    return fixed(`${remain.name} in pool ${remain.pool}, whose removal did not end`, 'remove it')
  if (remain.kind === 'plugin') return fixed(remain.problem, 'listen there again')
  if (remain.kind === 'verification') return ofVerification(store, host, recall, isVerified, remain)
  if (remain.kind === 'live') return fixed(`a live dataset of the replica of volume ${remain.volumeId}`, 'remove it')
  if (remain.kind === 'mount') {
    const records = recall.records.filter(({ volumeId }) => volumeId === remain.volumeId)
    if (records.length > 0 && records.every(({ role, moveId }) => role === 'replica' && moveId === null))
      return fixed(`${remain.path} is mounted, and the volume is not owned there`, 'unmount it')
    return byHand(
      'mount',
      host.name,
      `${remain.path} is mounted, and no record there names its volume`,
      'see what it is, and unmount it',
    )
  }
  const maker = remain.kind === 'container' ? ofContainer(remain) : makerOf(remain.name)
  const what =
    remain.kind === 'container'
      ? `container ${remain.name}, made to wait for a move`
      : `${remain.kind === 'partial' ? 'partial receive' : 'snapshot'} ${remain.name} of volume ${remain.volumeId}`
  if (maker === null) {
    // A container that a move brought and gave its name is no leftover.
    if (remain.kind === 'container') return null
    return byHand(remain.kind, host.name, `${what}, which no move made`, 'see what it is; Drover leaves it alone')
  }
  const ending = await endingOf(store, recall, maker)
  if (ending === 'open' || recall.records.some((record) => record.moveId === maker)) return null
  if (ending === 'ended') return fixed(`${what}; the move has ended`, 'remove it')
  return byHand(remain.kind, host.name, `${what}; no end of that move is recorded`, 'vol recover, or see what it is')
}

/** Those of `vol verify` are named after volume and replica, those of a move after it. */
const ofVerification = async (
  store: Store,
  host: Host,
  recall: Recall,
  isVerified: IsVerified,
  remain: Remain & { kind: 'verification' },
): Promise<Fixable | null> => {
  const { kind, id } = remain
  const found = { kind, host: host.name, action: 'remove it', advice: null, fix: { remain } }
  const asked = /^verify\.([0-9a-z]{26})\.[0-9a-z]{26}$/.exec(id)?.[1]
  if (asked !== undefined) {
    if (isVerified(asked)) return null
    return { ...found, what: `how far a comparison of volume ${asked} was that is not under way` }
  }
  const ending = isId(id) ? await endingOf(store, recall, moveId(id)) : 'unheard of'
  if (ending === 'open') return null
  const what = `how far the comparison of move ${id} was`
  if (ending === 'ended') return { ...found, what: `${what}; the move has ended` }
  return byHand(kind, host.name, `${what}; no end of that move is recorded`, 'vol recover, or see what it is')
}

const ofContainer = ({ name, moveId: id }: { name: string; moveId: string }): MoveId | null =>
  isWaitingName(name, id) && /^[0-9a-z]{26}$/.test(id) ? moveId(id) : null

const ofRecord = async (store: Store, host: Host, recall: Recall, record: DatasetRecord): Promise<Fixable[]> => {
  const { name, role, moveId: inMove } = record
  if (role === 'diverged') {
    const advice = 'stop what runs on it, copy out what is wanted, then remove its directory from the pool'
    return [byHand('diverged', host.name, `a superseded copy of volume ${name}, kept`, advice)]
  }
  if (inMove !== null && (await endingOf(store, recall, inMove)) === 'ended') {
    return [
      byHand(
        'unfinished',
        host.name,
        `volume ${name} is ${role} in move ${inMove}, which has ended`,
        'it is finished there by itself',
      ),
    ]
  }
  return []
}

const ofMachine = (host: Host, seen: Examination, asked: Asked): Fixable[] => {
  const found: Fixable[] = []
  if (seen.engine !== null) found.push(byHand('engine', host.name, seen.engine, 'start the engine'))
  for (const what of seen.foreign)
    found.push(byHand('foreign', host.name, `${what} cannot be read, or is of a newer Drover`, 'start the newer vold'))
  for (const { spec, freeBytes, totalBytes } of seen.pools) {
    if (freeBytes >= totalBytes * nearlyFull) continue
    found.push(
      byHand(
        'pool',
        host.name,
        `pool ${spec} is nearly full: ${formatSize(freeBytes)} of ${formatSize(totalBytes)} are free`,
        'remove volumes, move some, or enlarge it',
      ),
    )
  }
  for (const { of, endsAt } of seen.certificates) {
    const leftMs = Date.parse(endsAt) - asked.to
    if (leftMs > nearEndMs) continue
    const what = `the certificate of the ${of} ${leftMs > 0 ? 'ends' : 'ended'} at ${endsAt}`
    if (of === 'host') {
      found.push({
        ...{ kind: 'certificate', host: host.name, what, action: 'renew it', advice: null, fix: 'certificate' },
      })
    } else if (host.control) {
      const advice = 'every certificate ends with it, and a CA is not replaced: copy the data into a new cluster before'
      found.push(byHand('certificate', host.name, what, advice))
    }
  }
  const skew = Math.max(asked.from - seen.now, seen.now - asked.to)
  if (skew > skewMs)
    found.push(
      byHand(
        'clock',
        host.name,
        `its clock is off by ${formatDuration(skew)} from the control host's`,
        'set it; let it follow a time server',
      ),
    )
  return found
}
