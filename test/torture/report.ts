import { type Phase, phases } from '../../src/domain/move.ts'
import type { Outcome } from './cell.ts'

const signs = { passed: 'ok', failed: 'FAILED', 'not applicable': '-' } as const

const square = (outcomes: readonly Outcome[]): string => {
  const [first] = outcomes
  if (first === undefined) return ''
  const failed = outcomes.filter(({ result }) => result === 'failed').length
  const passed = outcomes.filter(({ result }) => result === 'passed').length
  if (outcomes.length === 1 || passed + failed === 0) return signs[first.result]
  return failed > 0 ? `FAILED ${failed}/${outcomes.length}` : `ok ${passed}/${outcomes.length}`
}

const padded = (rows: readonly (readonly string[])[]): string => {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export const count = (outcomes: readonly Outcome[], result: Outcome['result']): number =>
  outcomes.filter((outcome) => outcome.result === result).length

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** How long a `vold` that was killed took from its start until the move was under way again. */
const resumptions = (outcomes: readonly Outcome[]): string[] =>
  [...new Set(outcomes.map(({ fault }) => fault))].flatMap((name) => {
    const times = outcomes.flatMap(({ fault, resumedMs }) => (fault === name && resumedMs !== null ? [resumedMs] : []))
    const sorted = times.toSorted((one, other) => one - other)
    const [median, most] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)]
    if (median === undefined || most === undefined) return []
    return [
      `${name}: under way again ${seconds(median)} after the start, at most ${seconds(most)} (${sorted.length} cells)`,
    ]
  })

/** Faults down, phases across; then why a square is empty, and how to see a failure again. */
export const table = (outcomes: readonly Outcome[], ran: readonly Phase[] = phases): string => {
  const names = [...new Set(outcomes.map(({ fault }) => fault))]
  const rows = names.map((name) => [
    name,
    ...ran.map((phase) => square(outcomes.filter((each) => each.fault === name && each.phase === phase))),
  ])
  const reasons = new Map<string, string[]>()
  for (const { result, reason, fault, phase } of outcomes) {
    if (result !== 'not applicable' || reason === null) continue
    const where = `${fault}/${phase}`
    const known = reasons.get(reason) ?? []
    if (!known.includes(where)) reasons.set(reason, [...known, where])
  }
  const lines = [padded([['', ...ran], ...rows]), '']
  lines.push(
    `${count(outcomes, 'passed')} passed, ${count(outcomes, 'failed')} failed, ${count(outcomes, 'not applicable')} not applicable`,
  )
  lines.push(...resumptions(outcomes))
  for (const [reason, where] of reasons) lines.push(`- ${where.join(', ')}: ${reason}`)
  for (const failure of outcomes.filter(({ result }) => result === 'failed')) {
    lines.push(`FAILED ${again(failure)}: ${failure.reason} (move ${failure.move}, struck in ${failure.struckIn})`)
  }
  return lines.join('\n')
}

/** What sees this cell again, with the same chance. */
export const again = ({ fault, phase, seed }: Outcome): string =>
  `npm run torture -- --only ${fault} --phase ${phase} --seed ${seed}`

export const line = (outcome: Outcome): string => {
  const { fault, phase, result, move, quiesce, delayMs, struckIn, resumedMs, ms, reason } = outcome
  if (result === 'not applicable') return `${fault} at ${phase}: - ${reason}`
  const resumed = resumedMs === null ? '' : `, under way again after ${seconds(resumedMs)}`
  const struck = `struck in ${struckIn} after ${delayMs} ms, quiesce ${quiesce}, move ${move}${resumed}`
  return `${fault} at ${phase}: ${signs[result]}, ${struck}, ${seconds(ms)}${reason === null ? '' : `: ${reason}`}`
}
