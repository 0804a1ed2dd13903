import { DroverError } from '../../domain/errors.ts'

export const streamFailed = (message: string, details: Readonly<Record<string, unknown>> = {}): DroverError =>
  new DroverError('STREAM_FAILED', message, { details })

/** Any failure of a link or a program here, as one STREAM_FAILED line. */
export const asStreamFailure = (error: unknown, what: string): DroverError =>
  error instanceof DroverError
    ? error
    : streamFailed(`${what}: ${error instanceof Error ? error.message : String(error)}`)
