import type { Clock } from '../lib/clock.ts'
import type { Client } from './client.ts'
import { table } from './table.ts'

/** What a command has to work with. Results go to `out`, all else to `err`. */
export interface Context {
  readonly client: Client
  readonly clock: Clock
  readonly json: boolean
  /** Standard error is a terminal. */
  readonly terminal: boolean
  out(line: string): void
  err(line: string): void
}

/** A result: JSON when that was asked for, else what a person reads. */
export const show = (context: Context, value: unknown, lines: () => string | readonly string[]): void => {
  const text = context.json ? JSON.stringify(value) : lines()
  for (const line of [text].flat()) context.out(line)
}

export const showTable = <T>(
  context: Context,
  items: readonly T[],
  columns: Readonly<Record<string, (item: T) => string>>,
): void => show(context, items, () => table(items, columns))

export const segment = (text: string): string => encodeURIComponent(text)
