import type { LabHost } from '../lab/host.ts'
import type { MoveView, VolumeDetail } from '../src/control/control.ts'
import { formatDuration, formatSize } from '../src/domain/units.ts'
import { committedRows } from './database.ts'
import { longestGap, type Note } from './notes.ts'
import type { Stage } from './stage.ts'
import type { Writer } from './writer.ts'

/** Runs `vol move db --to HOST` on our own terminal, with the client at work, and tells what came of it. */
export const walk = async (stage: Stage, from: LabHost, to: LabHost, writer: Writer): Promise<MoveView> => {
  const argv = ['vol', 'move', 'db', '--to', to.name]
  stage.command(from.name, argv)
  const first = writer.notes().length
  const status = await onTerminal(from, argv)
  stage.claim(status === 0, `vol move ended with exit status ${status}`)
  await writer.awaitNotes(to, 100)
  stage.claim(true, `the same client found the database on ${to.name} and commits there`)

  const { owner } = JSON.parse(await to.vol('--json', 'inspect', 'db')) as VolumeDetail
  stage.claim(owner === to.name, `volume db is owned by ${owner}`)
  const moves = JSON.parse(await to.vol('--json', 'moves', '--volume', 'db')) as MoveView[]
  const move = moves[0]
  if (move === undefined) throw new Error('vol moves does not list the move')
  move.rounds.forEach(({ base, bytes, ms }, index) => {
    const what = base === null ? 'all of it' : `what changed since ${base.slice(-8)}`
    stage.tell(`round ${index + 1}: ${formatSize(bytes)} in ${formatDuration(ms)}, ${what}`)
  })
  stage.tell(`together: ${formatSize(move.totalBytes)} in ${move.rounds.length} rounds`)
  tellDowntime(stage, writer.notes().slice(Math.max(0, first - 1)), move)
  return move
}

const tellDowntime = (stage: Stage, notes: readonly Note[], move: MoveView): void => {
  const gap = longestGap(notes)
  if (gap === null) throw new Error('the client noted nothing during the move')
  const told = move.downtimeMs === null ? 'nothing' : formatDuration(move.downtimeMs)
  stage.tell(`downtime as the client saw it: ${formatDuration(gap.ms)}, from the acknowledgement of row`)
  stage.tell(
    `  ${gap.before.number} by ${gap.before.address} to that of row ${gap.after.number} by ${gap.after.address}`,
  )
  stage.tell(`downtime as Drover told it (stop of the container to its start): ${told}`)
}

/** Every number that the client noted must be in the table. */
export const checkRows = async (stage: Stage, host: LabHost, notes: readonly Note[]): Promise<void> => {
  const rows = await committedRows(host)
  const missing = notes.filter(({ number }) => !rows.has(number))
  const named = missing.slice(0, 5).map(({ number }) => number)
  stage.claim(
    missing.length === 0 && notes.length > 0,
    `of ${notes.length} rows acknowledged to the client, ${missing.length} are missing in the table on ${host.name}` +
      (named.length === 0 ? '' : ` (${named.join(', ')}, ...)`),
  )
}

const onTerminal = (host: LabHost, argv: readonly string[]): Promise<number | null> =>
  new Promise((resolve, reject) => {
    const child = host.spawn(argv, ['ignore', 'inherit', 'inherit'])
    child.once('error', reject)
    child.once('close', resolve)
  })
