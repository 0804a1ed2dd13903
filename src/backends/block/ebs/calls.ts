import { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import type { Logger } from '../../../lib/logger.ts'
import type { CallBudget } from './budget.ts'

const throttlingCodes =
  /^(RequestLimitExceeded|Throttling|ThrottlingException|ConcurrentLimitExceededException|ConcurrentSnapshotLimitExceeded|SnapshotCreationPerVolumeRateExceeded|RequestThrottled.*|EC2ThrottledException)$/
const unfitCodes = /^(UnauthorizedOperation|Client\.UnauthorizedOperation|AccessDeniedException)$/
const credentialCodes =
  /^(AuthFailure|CredentialsProviderError|ExpiredToken.*|RequestExpired|InvalidClientTokenId|SignatureDoesNotMatch|OptInRequired)$/
const firstWaitMs = 500
const longestWaitMs = 15_000

/** A refusal of EC2's, by its code: nothing was done. */
export class RefusedCall extends Error {
  readonly code: string

  constructor(action: string, code: string, message: string, cause: unknown) {
    super(`${action}: ${code}: ${message}`, { cause })
    this.code = code
  }
}

export const isRefusal = (error: unknown, ...codes: readonly string[]): error is RefusedCall =>
  error instanceof RefusedCall && codes.includes(error.code)

/** It may have been done or not: no answer came, or that something broke within AWS. */
export class UnansweredCall extends Error {
  constructor(action: string, cause: unknown) {
    super(`${action} was not answered: ${String(cause)}`, { cause })
  }
}

export interface CallOptions {
  /** Asked again when no answer came. Only what can be done twice without doing more: describes, what has a client token, removals. */
  readonly again: boolean
  /** Milliseconds after which it is given up. */
  readonly timeoutMs?: number
  /** The same of what nobody answers. Default: that is waited for as long as for what is throttled. */
  readonly unansweredMs?: number
  /** Once aborted, it is not made any more; the reason is thrown. */
  readonly signal?: AbortSignal
}

/** Every call to EC2 passes here: within the budget, tried again with back-off where that is safe. */
export class Calls {
  readonly #clock: Clock
  readonly #budget: CallBudget
  readonly #logger: Logger

  constructor(clock: Clock, budget: CallBudget, logger: Logger) {
    this.#clock = clock
    this.#budget = budget
    this.#logger = logger
  }

  /** @throws RefusedCall, UnansweredCall; NOT_PERMITTED, BAD_CONFIG for what an operator has to put right; TIMED_OUT */
  async make<T>(action: string, options: CallOptions, send: () => Promise<T>): Promise<T> {
    const { again, timeoutMs = 10 * 60_000, unansweredMs = timeoutMs, signal } = options
    const startedAt = this.#clock.monotonic()
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(waitMs * 2, longestWaitMs)) {
      await this.#budget.take()
      signal?.throwIfAborted()
      try {
        const answer = await send()
        this.#budget.succeeded()
        return answer
      } catch (error) {
        const trouble = troubleOf(action, error)
        const isThrottled = trouble === 'throttled'
        if (isThrottled) this.#budget.throttled()
        const mayTryAgain = isThrottled || (trouble instanceof UnansweredCall && again)
        if (!mayTryAgain) throw trouble
        if (this.#clock.monotonic() + waitMs > startedAt + (isThrottled ? timeoutMs : unansweredMs)) {
          if (!isThrottled) throw trouble
          throw new DroverError(
            'TIMED_OUT',
            `EC2 has throttled ${action} for ${Math.round(timeoutMs / 1000)} s; try again`,
          )
        }
        this.#logger.debug({ action, waitMs, err: error }, 'a call to EC2 is made again')
      }
      // Never two hosts in step.
      await this.#clock.sleep(waitMs * (0.5 + Math.random() / 2), signal)
    }
  }
}

const troubleOf = (action: string, error: unknown): Error | 'throttled' => {
  if (!(error instanceof Error)) return new UnansweredCall(action, error)
  const code = error.name
  if (throttlingCodes.test(code)) return 'throttled'
  if (unfitCodes.test(code)) {
    return new DroverError('NOT_PERMITTED', `the instance's role may not do ${action}; docs/ebs.md has the policy`, {
      cause: error,
    })
  }
  if (credentialCodes.test(code)) {
    return new DroverError(
      'BAD_CONFIG',
      `EC2 does not accept the credentials that were found (${code}); give the instance a role`,
      {
        cause: error,
      },
    )
  }
  const status = statusOf(error)
  if (status === null || status >= 500) return new UnansweredCall(action, error)
  return new RefusedCall(action, code, error.message, error)
}

/** Null: no answer came at all. */
const statusOf = (error: Error): number | null => {
  if (!('$metadata' in error) || typeof error.$metadata !== 'object' || error.$metadata === null) return null
  const { $metadata } = error
  return 'httpStatusCode' in $metadata && typeof $metadata.httpStatusCode === 'number' ? $metadata.httpStatusCode : null
}
