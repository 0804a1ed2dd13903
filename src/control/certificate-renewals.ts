import { fingerprintOf } from '../cluster/certificates.ts'
import type { CertificateAuthority } from '../cluster/cluster.ts'
import { endOfCertificate, isRenewalDue, type RenewalRequest, signRenewal } from '../cluster/renewal.ts'
import { asDroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import type { ControlParts } from './parts.ts'

const lookMs = 3_600_000
const againMs = 60_000

export interface SigningParts extends Pick<ControlParts, 'store' | 'clock' | 'logger' | 'agent' | 'mayWrite' | 'emit'> {
  readonly authority: CertificateAuthority
  readonly clusterId: ClusterId
}

/**
 * Gives every host, the control role's own too, its next certificate long before the present one ends, over the link that the present
 * one still opens. Nothing is restarted, and the key stays.
 */
export class CertificateRenewals {
  readonly #parts: SigningParts
  /** When each host is looked at next, Unix milliseconds. */
  readonly #nextAt = new Map<HostId, number>()
  #running: Promise<void> | null = null

  constructor(parts: SigningParts) {
    this.#parts = parts
  }

  /** May be called as often as one likes: a host is asked once an hour, and after a failure once a minute. Never rejects. */
  run(): Promise<void> {
    this.#running ??= this.#lookAtAll().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  /** Now, whether it is due or not. */
  async renew(host: Host): Promise<void> {
    await this.#renew(host, await this.#parts.agent(host).certificateRequest({}))
  }

  async #lookAtAll(): Promise<void> {
    const { store, clock, logger } = this.#parts
    const look = async (host: Host) => {
      if ((this.#nextAt.get(host.id) ?? 0) > clock.now()) return
      try {
        const request = await this.#parts.agent(host).certificateRequest({})
        if (isRenewalDue(request.certPem, clock.now())) await this.#renew(host, request)
        this.#nextAt.set(host.id, clock.now() + lookMs)
      } catch (error) {
        this.#nextAt.set(host.id, clock.now() + againMs)
        logger.debug({ host: host.name, reason: asDroverError(error).message }, 'its certificate is looked at later')
      }
    }
    try {
      await Promise.all((await store.hosts()).map(look))
    } catch (error) {
      logger.warn({ error: String(error) }, 'certificates are looked at later')
    }
  }

  async #renew(host: Host, request: RenewalRequest): Promise<void> {
    const { store, authority, clusterId, agent, mayWrite, emit } = this.#parts
    await mayWrite()
    const certPem = await signRenewal(authority, clusterId, host.id, request)
    await agent(host).renewCertificate({ certPem })
    const row = (await store.hosts()).find(({ id }) => id === host.id)
    if (row !== undefined) await store.putHost({ ...row, fingerprint: fingerprintOf(certPem) })
    const endsAt = new Date(endOfCertificate(certPem)).toISOString()
    await emit('host.certificate-renewed', { host: host.name, endsAt })
  }
}
