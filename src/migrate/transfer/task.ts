import type { Clock } from '../../lib/clock.ts'
import type { TlsIdentity } from '../transfer.ts'
import type { LinkTimes } from './link.ts'

/** What a transfer gets from the process that it runs in. */
export interface Task {
  readonly identity: TlsIdentity
  readonly clock: Clock
  /** Never resolves. @throws STREAM_FAILED when `vold` calls the transfer off. */
  readonly aborted: Promise<never>
  progress(bytes: number): void
  /** Other than a session's usual ones. */
  readonly times?: LinkTimes
}
