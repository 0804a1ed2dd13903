import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { readIfExists, writeDurably } from '../../../lib/files.ts'
import type { ArrivalPlace, SnapshotDraft } from '../device.ts'

const lookMs = 25
const longestMs = 30 * 60_000

/** Asks the process that keeps the pool for a device of this size. @throws Error with what it said */
export const askForSize = async (path: string, sizeBytes: number): Promise<ArrivalPlace> => {
  await writeDurably(`${path}.ask`, String(sizeBytes))
  for (let waitedMs = 0; waitedMs < longestMs; waitedMs += lookMs) {
    const text = await readIfExists(`${path}.answer`)
    if (text === null) {
      await sleep(lookMs)
      continue
    }
    for (const ending of ['ask', 'answer']) await rm(`${path}.${ending}`, { force: true })
    const answer: unknown = JSON.parse(text)
    if (typeof answer === 'object' && answer !== null) {
      if ('path' in answer && typeof answer.path === 'string') return { path: answer.path }
      // Of our own process, a moment ago.
      if ('draft' in answer) return { draft: answer.draft as SnapshotDraft }
    }
    throw new Error(`no device of ${sizeBytes} bytes could be had: ${text}`)
  }
  throw new Error(`nobody answered who asked for a device of ${sizeBytes} bytes`)
}
