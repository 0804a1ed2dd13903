import type { IncomingMessage } from 'node:http'

/** An error of the direct API, as it tells it. */
export class DirectError extends Error {
  readonly code: string
  readonly reason: string | null
  readonly status: number

  constructor(code: string, reason: string | null, message: string, status = 400) {
    super(message)
    this.code = code
    this.reason = reason
    this.status = status
  }
}

export const invalid = (reason: string, message: string): DirectError =>
  new DirectError('ValidationException', reason, message)

/** One request: what its path and its query name. */
export interface DirectRequest {
  readonly snapshotId: string
  /** Null: the path names none. */
  readonly blockIndex: number | null
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export interface DirectAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: Buffer | Readonly<Record<string, unknown>>
}

export const numberIn = (query: URLSearchParams, name: string): number | null => {
  const text = query.get(name)
  return text === null ? null : numberOf(name, text)
}

export const numberOf = (name: string, text: string): number => {
  if (/^\d{1,10}$/.test(text)) return Number(text)
  throw invalid('INVALID_PARAMETER_VALUE', `Value (${text}) for parameter ${name} is invalid.`)
}
