/** What a code means to HTTP, to the shell and to a caller that wonders whether to try again. */
export interface ErrorKind {
  /** HTTP status of the problem+json answer. */
  readonly status: number
  /** Exit status of `vol`: 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 unreachable. */
  readonly exit: 1 | 2 | 3 | 4 | 5
  /** The same request may succeed later without anybody changing it. */
  readonly retryable: boolean
  /** One sentence; docs/errors.md explains each at length and a test keeps the two together. */
  readonly title: string
}

/** The closed table of error codes. Codes are part of the interface: they are added, never renamed. */
export const errorKinds = {
  BAD_REQUEST: { status: 400, exit: 2, retryable: false, title: 'The request is not well formed' },
  BAD_NAME: { status: 400, exit: 2, retryable: false, title: 'The name cannot be used' },
  BAD_SIZE: { status: 400, exit: 2, retryable: false, title: 'The size cannot be used' },
  UNKNOWN_OPTION: { status: 400, exit: 2, retryable: false, title: 'The option does not exist' },
  BODY_TOO_LARGE: { status: 413, exit: 2, retryable: false, title: 'The request body is too large' },
  UNAUTHENTICATED: { status: 401, exit: 1, retryable: false, title: 'The certificate or token is not accepted' },
  FORBIDDEN: { status: 403, exit: 1, retryable: false, title: 'This certificate may not do that' },
  NO_SUCH_VOLUME: { status: 404, exit: 3, retryable: false, title: 'The volume does not exist' },
  NO_SUCH_HOST: { status: 404, exit: 3, retryable: false, title: 'The host does not exist' },
  NO_SUCH_POOL: { status: 404, exit: 3, retryable: false, title: 'The pool does not exist' },
  NO_SUCH_MOVE: { status: 404, exit: 3, retryable: false, title: 'The move does not exist' },
  NO_SUCH_SNAPSHOT: { status: 404, exit: 3, retryable: false, title: 'The snapshot does not exist' },
  NO_SUCH_REPLICA: { status: 404, exit: 3, retryable: false, title: 'There is no copy to compare with' },
  NO_SUCH_VERIFICATION: { status: 404, exit: 3, retryable: false, title: 'No verification is known' },
  NO_SUCH_ROUTE: { status: 404, exit: 3, retryable: false, title: 'The address does not exist' },
  VOLUME_EXISTS: { status: 409, exit: 4, retryable: false, title: 'A volume of that name exists' },
  VOLUME_IN_USE: { status: 409, exit: 4, retryable: true, title: 'The volume is in use' },
  VOLUME_BUSY: { status: 409, exit: 4, retryable: true, title: 'Something keeps the file system busy' },
  VOLUME_SEALED: { status: 409, exit: 4, retryable: true, title: 'The volume is being moved and takes no writer now' },
  VOLUME_ELSEWHERE: { status: 409, exit: 4, retryable: true, title: 'The volume lives on another host' },
  VOLUME_FENCED: { status: 409, exit: 4, retryable: false, title: 'This copy may not be written' },
  VOLUME_UNKNOWN: { status: 409, exit: 4, retryable: false, title: 'Who owns the volume is not known' },
  HOST_EXISTS: { status: 409, exit: 4, retryable: false, title: 'A host of that name exists' },
  HOST_HAS_VOLUMES: { status: 409, exit: 4, retryable: false, title: 'The host still holds volumes' },
  MOVE_UNDER_WAY: { status: 409, exit: 4, retryable: true, title: 'Another move of the volume is under way' },
  MOVE_TO_ITSELF: { status: 409, exit: 4, retryable: false, title: 'The volume is on that host already' },
  GROUP_SPLIT: { status: 409, exit: 4, retryable: false, title: 'The volumes of the group are on several hosts' },
  MOVE_CANCELLED: { status: 409, exit: 4, retryable: false, title: 'The move was cancelled' },
  MOVE_FAILED: { status: 500, exit: 1, retryable: true, title: 'The move failed and was undone' },
  TOO_LATE: { status: 409, exit: 4, retryable: false, title: 'The move has committed' },
  STALE_EPOCH: { status: 409, exit: 4, retryable: false, title: 'The command is older than what the host has seen' },
  PRECONDITION_FAILED: { status: 412, exit: 4, retryable: false, title: 'The thing changed since it was read' },
  IDEMPOTENCY_MISMATCH: { status: 422, exit: 4, retryable: false, title: 'The Idempotency-Key was used otherwise' },
  STORE_CONFLICT: { status: 409, exit: 4, retryable: true, title: 'Another write came first' },
  STORE_BEHIND: {
    status: 503,
    exit: 1,
    retryable: false,
    title: 'The state store is older than what the hosts have seen',
  },
  DOWNTIME_EXCEEDED: { status: 409, exit: 1, retryable: true, title: 'The downtime allowed cannot be kept' },
  CANNOT_CARRY: { status: 409, exit: 4, retryable: false, title: 'A container cannot be carried to the target' },
  NESTED_DATASET: { status: 409, exit: 4, retryable: false, title: 'The volume holds a nested subvolume or dataset' },
  NO_SPACE: { status: 507, exit: 1, retryable: true, title: 'The pool has no space for it' },
  DATASET_MISSING: { status: 500, exit: 1, retryable: false, title: 'The dataset is not on its pool' },
  DATASET_FOREIGN: {
    status: 409,
    exit: 4,
    retryable: false,
    title: 'The dataset is not of this host, pool or cluster',
  },
  DIVERGED: { status: 409, exit: 4, retryable: false, title: 'The two copies have no usable common snapshot' },
  CONTENT_DIFFERS: { status: 500, exit: 1, retryable: false, title: 'The content is not the same on both hosts' },
  STREAM_FAILED: { status: 502, exit: 1, retryable: true, title: 'The data stream broke' },
  NOT_HEALTHY: { status: 500, exit: 1, retryable: false, title: 'The container did not become healthy' },
  HOOK_FAILED: { status: 500, exit: 1, retryable: true, title: 'A hook of the operator failed' },
  CLUSTER_EXISTS: { status: 409, exit: 4, retryable: false, title: 'The host is in a cluster already' },
  ADOPT_NEEDED: { status: 409, exit: 4, retryable: false, title: 'The host holds volumes already' },
  NOT_CONTROL: { status: 409, exit: 4, retryable: false, title: 'This host does not have the control role' },
  TOKEN_INVALID: { status: 401, exit: 1, retryable: false, title: 'The token is unknown, used or expired' },
  HOST_UNREACHABLE: { status: 502, exit: 5, retryable: true, title: 'The host does not answer' },
  POOL_UNREACHABLE: { status: 503, exit: 5, retryable: true, title: 'The pool does not answer' },
  CONTROL_UNREACHABLE: { status: 503, exit: 5, retryable: true, title: 'The control role does not answer' },
  DAEMON_UNREACHABLE: { status: 503, exit: 5, retryable: true, title: 'vold does not answer' },
  DOCKER_UNREACHABLE: { status: 503, exit: 5, retryable: true, title: 'The Docker engine does not answer' },
  DOCKER_FAILED: { status: 500, exit: 1, retryable: true, title: 'The Docker engine refused' },
  TIMED_OUT: { status: 504, exit: 1, retryable: true, title: 'It did not end in time' },
  COMMAND_FAILED: { status: 500, exit: 1, retryable: false, title: 'A command of the system failed' },
  MISSING_PROGRAM: { status: 500, exit: 1, retryable: false, title: 'A program that is needed is not installed' },
  NOT_PERMITTED: { status: 500, exit: 1, retryable: false, title: 'vold lacks a privilege' },
  ALREADY_RUNNING: { status: 409, exit: 4, retryable: false, title: 'Another vold runs on this data directory' },
  MACHINE_CHANGED: { status: 409, exit: 4, retryable: false, title: 'The data directory is of another machine' },
  ADDRESS_TAKEN: { status: 409, exit: 4, retryable: false, title: 'The address is taken' },
  BAD_CONFIG: { status: 400, exit: 2, retryable: false, title: 'The configuration cannot be used' },
  INTERNAL: { status: 500, exit: 1, retryable: false, title: 'Drover failed; this is a defect' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof errorKinds

/** Evidence beside the sentence: figures, argv, both snapshot lists. Plain JSON. */
export type ErrorDetails = Readonly<Record<string, unknown>>

/**
 * The one error that crosses rooms. `message` is a whole line for a person: what happened, to what, what to do.
 */
export class DroverError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'DroverError'
    this.code = code
    this.details = options.details ?? {}
  }

  get kind(): ErrorKind {
    return errorKinds[this.code]
  }
}

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(errorKinds, text)

export const hasCode = (error: unknown, ...codes: readonly ErrorCode[]): error is DroverError =>
  error instanceof DroverError && codes.includes(error.code)

/** Anything thrown, as a DroverError; what is not one already is a defect and becomes INTERNAL. */
export const asDroverError = (error: unknown): DroverError =>
  error instanceof DroverError
    ? error
    : new DroverError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error })
