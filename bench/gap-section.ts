import { formatSize } from '../src/domain/units.ts'
import type { Quiesce } from './moves.ts'
import { figure, type Section, table, type Verdict } from './report.ts'
import { median, regress, spreadOf } from './statistics.ts'

/** One move as its client saw it. */
export interface GapSample {
  readonly gib: number
  readonly quiesce: Quiesce
  /** All of the data went over, not only what had changed. */
  readonly full: boolean
  readonly gapMs: number
  /** As Drover told it. */
  readonly toldMs: number | null
  readonly bytes: number
}

const slopeGoalMsPerGib = 50
const quiesces = ['pause', 'stop'] as const

/** Gaps over all sizes, by way of quiescing, and their slope over the size. @param goalsMs for the medians, pause and stop */
export const gapSection = (
  what: string,
  samples: readonly GapSample[],
  goalsMs: readonly [number, number],
): Pick<Section, 'body' | 'verdicts'> => {
  const of = (quiesce: Quiesce) => samples.filter((sample) => sample.quiesce === quiesce)
  const gaps = (list: readonly GapSample[]) => spreadOf(list.map(({ gapMs }) => gapMs))
  const sizes = [...new Set(samples.map(({ gib }) => gib))].sort((a, b) => a - b)
  const rows = quiesces.flatMap((quiesce) =>
    sizes.map((gib) => {
      const here = of(quiesce).filter((sample) => sample.gib === gib)
      return [
        `${quiesce}, ${gib.toFixed(gib < 1 ? 2 : 1)} GiB`,
        figure(gaps(here)),
        `${here.length} (${here.filter(({ full }) => full).length})`,
        formatSize(median(here.map(({ bytes }) => bytes))),
        median(here.map(({ toldMs }) => toldMs ?? Number.NaN)).toFixed(0),
      ]
    }),
  )
  const verdicts: Verdict[] = quiesces.flatMap((quiesce, index): Verdict[] => {
    const goal = goalsMs[index] ?? Number.NaN
    const all = gaps(of(quiesce))
    const { slope, halfWidth } = regress(of(quiesce).map(({ gib, gapMs }) => [gib, gapMs] as const))
    const from = Math.min(...sizes).toFixed(2)
    const to = Math.max(...sizes).toFixed(2)
    return [
      {
        what: `${what}, \`--quiesce ${quiesce}\`, median of ${all.count} moves`,
        measured: `${figure(all)} ms`,
        goal: `< ${goal} ms`,
        holds: all.median < goal,
      },
      {
        what: `${what}, \`--quiesce ${quiesce}\`, slope over ${from} to ${to} GiB, 95% interval`,
        measured: `${slope.toFixed(0)} ± ${halfWidth.toFixed(0)} ms per GiB`,
        goal: `includes ${slopeGoalMsPerGib} ms per GiB or less`,
        holds: slope - halfWidth <= slopeGoalMsPerGib,
      },
    ]
  })
  const head = ['quiesce, data', 'gap, ms', 'moves (full)', 'bytes, median', 'told by Drover, ms']
  return { body: table(head, rows), verdicts }
}
