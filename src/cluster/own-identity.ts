import { KeyedMutex } from '../lib/mutex.ts'
import type { CertificateAuthority, Identity } from './cluster.ts'
import { type ClusterMember, saveIdentity } from './identity-files.ts'
import { type HeldCertificate, makeRenewalRequest, type RenewalRequest, withRenewed } from './renewal.ts'

/** Who this host is now, on disk and in memory. Joins and renewals change it one after the other, none from what another has replaced. */
export class OwnIdentity implements HeldCertificate {
  readonly #dataDir: string
  readonly #mutex = new KeyedMutex<string>()
  #member: ClusterMember
  #followers: ((identity: Identity) => void)[] = []

  constructor(dataDir: string, member: ClusterMember) {
    this.#dataDir = dataDir
    this.#member = member
  }

  get current(): Identity {
    return this.#member.identity
  }

  get authority(): CertificateAuthority | null {
    return this.#member.authority
  }

  /** Called with every later identity: what listens and what connects uses it from then on. */
  follow(follower: (identity: Identity) => void): void {
    this.#followers.push(follower)
  }

  /** `work` has saved what it resolves with. */
  replace(work: (current: Identity) => Promise<Identity>): Promise<Identity> {
    return this.#mutex.run('', async () => {
      const identity = await work(this.current)
      this.#take({ identity, authority: identity.control ? this.authority : null })
      return identity
    })
  }

  request(): Promise<RenewalRequest> {
    return makeRenewalRequest(this.current)
  }

  renew(certPem: string): Promise<void> {
    return this.#mutex.run('', async () => {
      const identity = withRenewed(this.current, certPem)
      if (identity === null) return
      await saveIdentity(this.#dataDir, identity)
      this.#take({ ...this.#member, identity })
    })
  }

  #take(member: ClusterMember): void {
    this.#member = member
    for (const follower of this.#followers) follower(member.identity)
  }
}
