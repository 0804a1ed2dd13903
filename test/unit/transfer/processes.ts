import { readdirSync, readFileSync } from 'node:fs'
import { expect, vi } from 'vitest'

/** Processes with this word among their arguments, other than this one. */
export const processesWith = (word: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').includes(word)
      } catch {
        return false
      }
    })
    .map(Number)

export const statusOf = (pid: number, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])

export const parentOf = (pid: number): number => statusOf(pid, 'PPid')

const patience = { timeout: 20_000 }

/** Until no process has the word. */
export const gone = (word: string) => vi.waitFor(() => expect(processesWith(word)).toEqual([]), patience)

/** Until one has it; its pid. */
export const there = (word: string): Promise<number> =>
  vi.waitFor(() => {
    const [pid, ...more] = processesWith(word)
    expect(more).toEqual([])
    if (pid === undefined) throw new Error(`no process has ${word}`)
    return pid
  }, patience)
