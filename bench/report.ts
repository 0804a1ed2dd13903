import type { Spread } from './statistics.ts'

/** One thing that was to be reached, and whether it was. */
export interface Verdict {
  readonly what: string
  /** With its unit and, where there is one, its spread. */
  readonly measured: string
  readonly goal: string
  readonly holds: boolean
}

/** What a row of the benchmark brings: Markdown, and what it says about the goals. */
export interface Section {
  readonly title: string
  readonly body: string
  readonly verdicts: readonly Verdict[]
}

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** `median (min-max)`, with `digits` after the point. */
export const figure = ({ median, min, max }: Spread, digits = 0): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)}-${max.toFixed(digits)})`

export const summary = (sections: readonly Section[]): string =>
  table(
    ['what', 'measured', 'goal', 'reached'],
    sections.flatMap(({ verdicts }) =>
      verdicts.map(({ what, measured, goal, holds }) => [what, measured, goal, holds ? 'yes' : 'no']),
    ),
  )
