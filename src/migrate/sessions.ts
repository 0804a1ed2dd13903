import { asDroverError, DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { TransferStatus } from './agent.ts'
import type { Transfer, TransferResult } from './transfer.ts'

interface Session {
  readonly transfer: Transfer
  readonly startedAt: number
  readonly ended: Promise<void>
  readonly resumeToken: string | undefined
  result: TransferResult | null
  error: DroverError | null
}

const rememberedSessions = 64

/** Transfers of this host that run or ended lately, by session id. */
export class Sessions {
  readonly #clock: Clock
  readonly #sessions = new Map<string, Session>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  has(id: string): boolean {
    return this.#sessions.has(id)
  }

  /** Of a receiver that goes on with what an earlier one has brought. */
  resumeToken(id: string): string | undefined {
    return this.#sessions.get(id)?.resumeToken
  }

  add(id: string, transfer: Transfer, resumeToken?: string): void {
    const session: Session = {
      transfer,
      resumeToken,
      startedAt: this.#clock.monotonic(),
      result: null,
      error: null,
      ended: transfer.done.then(
        (result) => {
          session.result = result
        },
        (error) => {
          session.error = asDroverError(error)
        },
      ),
    }
    this.#sessions.set(id, session)
    for (const old of [...this.#sessions.keys()].slice(0, -rememberedSessions)) {
      const { result, error } = this.#find(old)
      if (result !== null || error !== null) this.#sessions.delete(old)
    }
  }

  /** Answers when the session ended, at the latest after `waitMs`. */
  async status(id: string, waitMs: number): Promise<TransferStatus> {
    const session = this.#find(id)
    const timer = new AbortController()
    await Promise.race([session.ended, this.#clock.sleep(waitMs, timer.signal).catch(() => undefined)])
    timer.abort()
    const { result, error, transfer } = session
    return {
      state: result !== null ? 'done' : error !== null ? 'failed' : 'running',
      bytes: result?.bytes ?? transfer.progress().bytes,
      ms: result?.ms ?? this.#clock.monotonic() - session.startedAt,
      digest: result?.digest ?? null,
      error: error?.message ?? null,
      retryable: error?.details.lost === true || error?.details.died === true,
      resentBytes: result?.resentBytes ?? 0,
      reconnects: result?.reconnects ?? 0,
      wireBytes: result?.wireBytes ?? wireBytesOf(error) ?? 0,
    }
  }

  /** @throws STREAM_FAILED unless the session ended well */
  async result(id: string): Promise<TransferResult> {
    const session = this.#find(id)
    await session.ended
    if (session.result === null) throw session.error ?? new DroverError('STREAM_FAILED', `transfer ${id} did not end`)
    return session.result
  }

  async abort(id: string): Promise<void> {
    const session = this.#sessions.get(id)
    if (session === undefined) return
    session.transfer.abort()
    await session.ended
  }

  /** Ends every transfer that a move has on this host. */
  async abortAll(prefix: string): Promise<void> {
    await Promise.all([...this.#sessions.keys()].filter((id) => id.startsWith(prefix)).map((id) => this.abort(id)))
  }

  #find(id: string): Session {
    const session = this.#sessions.get(id)
    if (session !== undefined) return session
    // Its id is random: in the message it would make two runs of one simulated storm differ.
    throw new DroverError('STREAM_FAILED', 'the transfer is not known on this host; vold was started again meanwhile', {
      details: { sessionId: id },
    })
  }
}

const wireBytesOf = (error: DroverError | null): number | null => {
  const { wireBytes } = error?.details ?? {}
  return typeof wireBytes === 'number' ? wireBytes : null
}
