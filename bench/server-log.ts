import { existsSync, readFileSync } from 'node:fs'

/** One walk as PostgreSQL's own log tells it, in milliseconds; null where the log has nothing of the kind. */
export interface ServerTimes {
  /** From the request to stop until the database was shut down; null when it was killed. */
  readonly shutdownMs: number | null
  /** From the start of the server until it took connections. */
  readonly startMs: number | null
  /** Within that: the replay of the write-ahead log; null after a clean shutdown, which leaves none. */
  readonly replayMs: number | null
}

interface Line {
  readonly atMs: number
  readonly text: string
}

/** `log_line_prefix` must begin with `%m`, and the server's zone be UTC. */
const linesOf = (file: string): Line[] =>
  (existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []).flatMap((text) => {
    const stamp = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3}) UTC /.exec(text)
    return stamp === null ? [] : [{ atMs: Date.parse(`${stamp[1]}T${stamp[2]}Z`), text }]
  })

/** @param sinceMs by the wall clock; what was logged before is left out */
export const serverTimes = (file: string, sinceMs: number): ServerTimes => {
  const lines = linesOf(file).filter(({ atMs }) => atMs >= sinceMs)
  const between = (from: RegExp, to: RegExp): number | null => {
    const start = lines.findIndex(({ text }) => from.test(text))
    const end = lines.slice(start).find(({ text }) => to.test(text))
    const first = lines[start]
    return first === undefined || end === undefined ? null : end.atMs - first.atMs
  }
  const asked = lines.findIndex(({ text }) => /received (fast|smart|immediate) shutdown request/.test(text))
  const starts = lines.findIndex(({ text }, index) => index > asked && /starting PostgreSQL/.test(text))
  // The very last line may be missing: the logger ends with the server, which is the container's first process.
  const last = asked < 0 ? undefined : lines[(starts < 0 ? lines.length : starts) - 1]
  return {
    shutdownMs: last === undefined ? null : last.atMs - (lines[asked]?.atMs ?? Number.NaN),
    startMs: between(/starting PostgreSQL/, /ready to accept connections/),
    replayMs: between(/automatic recovery in progress/, /redo done|redo is not required/),
  }
}
