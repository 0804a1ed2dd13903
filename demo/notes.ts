import { readFileSync } from 'node:fs'

/** One acknowledged commit. */
export interface Note {
  readonly number: number
  /** By the client's own clock. */
  readonly atMs: number
  /** ADDR:PORT that acknowledged it. */
  readonly address: string
}

/** What the client has noted so far; a line that is being written is left out. */
export const readNotes = (file: string): Note[] => {
  const text = readFileSync(file, 'utf8')
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  return lines.slice(0, -1).map((line) => {
    const [number, atMs, address = ''] = line.split(' ')
    return { number: Number(number), atMs: Number(atMs), address }
  })
}

export interface Gap {
  readonly ms: number
  readonly before: Note
  readonly after: Note
}

/** The longest time without an acknowledgement: the downtime as the client saw it. Null with fewer than two notes. */
export const longestGap = (notes: readonly Note[]): Gap | null => {
  let longest: Gap | null = null
  for (const [index, after] of notes.entries()) {
    const before = notes[index - 1]
    if (before === undefined) continue
    const ms = after.atMs - before.atMs
    if (longest === null || ms > longest.ms) longest = { ms, before, after }
  }
  return longest
}
