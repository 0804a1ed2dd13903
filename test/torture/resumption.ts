import { readFileSync } from 'node:fs'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import type { DatasetRecord } from '../../src/domain/dataset.ts'
import { pool, type Stage } from './stage.ts'

interface Page {
  readonly items: readonly { readonly at: string; readonly type: string }[]
  readonly nextCursor: string | null
}

/** What a mover says when it acts: it has entered a phase, undone the move, or ended it. */
const acts = ['move.phase', 'move.aborted', 'move.done']
const patienceMs = 20_000

/** The move that the record of this host is in; null: none. */
const unfinishedOn = (stage: Stage, host: LabHost): string | null => {
  try {
    const file = host.path(`${pool}/volumes/${stage.volumeId}/volume.json`)
    return (JSON.parse(readFileSync(file, 'utf8')) as DatasetRecord).moveId
  } catch {
    return null // nothing of the volume is here
  }
}

/** When the mover first acted since then, in milliseconds since 1970; null: it has not. */
const moverActed = async (stage: Stage, since: number): Promise<number | null> => {
  for (let after = '0'; ; ) {
    const page = await stage.get<Page>(stage.control, `/v1/events?after=${after}`)
    const event = page?.items.find(({ type, at }) => acts.includes(type) && Date.parse(at) >= since)
    if (event !== undefined) return Date.parse(event.at)
    if (page === null || page.nextCursor === null) return null
    after = page.nextCursor
  }
}

/** When `vold` of this host first obeyed a command of the move since then. */
const obeyed = (host: LabHost, move: string, since: number): number | null => {
  for (const line of host.vold.log().split('\n')) {
    if (!line.includes('a move is under way on this host') || !line.includes(move)) continue
    const time = Date.parse(JSON.parse(line).time)
    if (time >= since) return time
  }
  return null
}

/**
 * Measures from the start of a `vold` that was killed until the move that it left unfinished is under way again: on the control host
 * until its mover acts, on another until the host is given a command of the move.
 */
export class Resumption {
  readonly #stage: Stage
  readonly #host: LabHost
  readonly #move: string | null
  readonly #startedAt: number

  /** Right before the start. */
  constructor(stage: Stage, host: LabHost) {
    this.#stage = stage
    this.#host = host
    this.#move = unfinishedOn(stage, host)
    this.#startedAt = Date.now()
  }

  /** Milliseconds; null: nothing was unfinished there. */
  async ms(): Promise<number | null> {
    const time = await this.#time()
    return time === null ? null : time - this.#startedAt
  }

  #time(): Promise<number | null> | number | null {
    const move = this.#move
    if (this.#host === this.#stage.control) return moverActed(this.#stage, this.#startedAt)
    if (move === null) return null
    return until('the move', () => obeyed(this.#host, move, this.#startedAt), { timeoutMs: patienceMs })
  }
}
