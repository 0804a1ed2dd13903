import { readFileSync } from 'node:fs'

/** One line of what the writer noted: an acknowledged record, or a start that goes on with this number. */
export interface Mark {
  readonly kind: 'record' | 'start'
  readonly number: number
  /** Of the machine's monotonic clock, which both hosts share. */
  readonly atMs: number
}

/** Milliseconds of the same clock. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

/** A line that is being written is left out. */
export const readMarks = (file: string): Mark[] => {
  let text: string
  try {
    text = readFileSync(file, 'latin1')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
  return lines.map((line) => {
    const [number, seconds] = line.replace('start ', '').split(' ')
    return { kind: line.startsWith('start') ? 'start' : 'record', number: Number(number), atMs: Number(seconds) * 1000 }
  })
}

export const recordsBetween = (marks: readonly Mark[], fromMs: number, toMs: number): Mark[] =>
  marks.filter(({ kind, atMs }) => kind === 'record' && atMs >= fromMs && atMs <= toMs)

/** The largest time between two acknowledgements that follow one another; 0 with fewer than two. */
export const largestGapMs = (marks: readonly Mark[]): number =>
  marks.reduce((largest, { atMs }, index) => Math.max(largest, atMs - (marks[index - 1]?.atMs ?? atMs)), 0)

/** Records that were acknowledged before a start which then went on with a lower number: lost. */
export const lostRecords = (marks: readonly Mark[]): number => {
  let lost = 0
  let last = -1
  for (const { kind, number } of marks) {
    if (kind === 'start') lost += Math.max(0, last + 1 - number)
    last = kind === 'start' ? number - 1 : number
  }
  return lost
}
