import { randomBytes } from 'node:crypto'
import type { Argv } from '../src/backends/backend.ts'
import type { TlsIdentity, TransferResult } from '../src/migrate/transfer.ts'
import { createAuthority, startHost } from '../test/unit/transfer/hosts.ts'

/** Drover's transfer service at both ends, in this process; each transfer runs in a process of its own at each end. */
export interface DroverLink {
  readonly identities: { readonly a: TlsIdentity; readonly b: TlsIdentity }
  /** Their processes are kept for another minute, as within a move. */
  warm(): void
  carry(send: Argv, receive: Argv, options: { readonly plain: boolean }): Promise<TransferResult>
  close(): Promise<void>
}

export const openDroverLink = async (): Promise<DroverLink> => {
  const authority = await createAuthority('bench')
  const identities = { a: await authority.issue('a'), b: await authority.issue('b') }
  const [a, b] = [await startHost(identities.a), await startHost(identities.b)]
  let sequence = 0
  return {
    identities,
    warm: () => {
      a.service.warm()
      b.service.warm()
    },
    carry: async (send, receive, { plain }) => {
      sequence += 1
      const ticket = plain ? { ticket: randomBytes(24).toString('hex') } : {}
      const common = { sessionId: `bench-${sequence}`, plain, ...ticket }
      const received = await b.service.receive({ ...common, argv: receive, peerHostId: 'a' })
      const order = { peerHostId: 'b', address: b.address, bwlimitBytes: null }
      const sent = await a.service.send({ ...common, ...order, argv: send })
      const [result] = await Promise.all([sent.done, received.done])
      return result
    },
    close: async () => {
      await a.service.close()
      await b.service.close()
    },
  }
}
