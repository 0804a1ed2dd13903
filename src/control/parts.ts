import type { Host } from '../domain/host.ts'
import type { HostId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent } from '../migrate/agent.ts'
import type { Store } from '../state/store.ts'
import type { Prices } from './price-file.ts'
import type { Publisher } from './publisher.ts'

/** What the parts of the control role share. */
export interface ControlParts {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  readonly publisher: Publisher
  agent(host: Host): Agent
  ownHost(): Promise<Host>
  /** @throws NO_SUCH_HOST */
  hostById(id: HostId): Promise<Host>
  hostName(id: HostId): Promise<string>
  /** @throws STORE_BEHIND while a host has seen a newer store than ours */
  mayWrite(): Promise<void>
  emit(type: string, data: Readonly<Record<string, unknown>>): Promise<void>
  /** `vol verify` is comparing this volume. */
  isVerified(volumeId: string): boolean
  /** What the cloud takes. Null: nobody has said. @throws BAD_CONFIG */
  prices(): Promise<Prices | null>
  /** A new certificate for the same host and key. @throws HOST_UNREACHABLE, FORBIDDEN */
  renewCertificate(host: Host): Promise<void>
  /** Finishes on the hosts what has ended in the store. Never rejects; true when all hosts answered. */
  reconcile(): Promise<boolean>
}
