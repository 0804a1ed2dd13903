import { DroverError } from '../../domain/errors.ts'

export const streamFailed = (message: string, details: Readonly<Record<string, unknown>> = {}): DroverError =>
  new DroverError('STREAM_FAILED', message, { details })

/** The link is of no more use, and neither end is to blame: over another one the stream goes on. */
export const linkLost = (message: string): DroverError => streamFailed(message, { lost: true })

/** Also of a session that gave up for want of a link: begun anew it may do better. */
export const isLost = (error: unknown): boolean => error instanceof DroverError && error.details.lost === true

/** Who answered is not our peer; the peer may still come. */
export const strangerMet = (message: string): DroverError => streamFailed(message, { stranger: true })
export const isStranger = (error: unknown): boolean => error instanceof DroverError && error.details.stranger === true

/** Nobody listens there. That is so for a moment when a link is filtered, and for good when the other `vold` has ended. */
export const refusedAt = (message: string): DroverError => streamFailed(message, { refused: true })
export const isRefused = (error: unknown): boolean => error instanceof DroverError && error.details.refused === true

/** Any failure of a link or a program here, as one STREAM_FAILED line. */
export const asStreamFailure = (error: unknown, what: string): DroverError =>
  error instanceof DroverError
    ? error
    : streamFailed(`${what}: ${error instanceof Error ? error.message : String(error)}`)
