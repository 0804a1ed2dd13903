import type { Duplex } from 'node:stream'

/** From receiver to sender, JSON lines: signs of life while it works, then one verdict. */
export type ReceiverMessage =
  | { readonly kind: 'alive'; readonly bytes: number }
  /** All before `bytes` has been taken: it need not be kept. */
  | { readonly kind: 'ack'; readonly bytes: number }
  /** First on every link but a session's first: go on from here. */
  | { readonly kind: 'resume'; readonly bytes: number }
  | { readonly kind: 'ok'; readonly bytes: number; readonly digest: string | null }
  | { readonly kind: 'failed'; readonly message: string }
  /** This link is not taken, for its certificate; the session goes on waiting for its peer. */
  | { readonly kind: 'stranger'; readonly message: string }
  /** Plain links: what the sender says on the status connection. */
  | { readonly kind: 'sent' }

export const formatMessage = (message: ReceiverMessage): string => `${JSON.stringify(message)}\n`

const maxLineChars = 16_384

/** Calls back for each message that comes; anything else on the link ends it with an error. */
export const readMessages = (link: Duplex, onMessage: (message: ReceiverMessage) => void): void => {
  let rest = ''
  link.on('data', (chunk: Buffer) => {
    rest += chunk.toString('latin1')
    if (rest.length > maxLineChars) {
      link.destroy(new Error('the peer sent too long a line'))
      return
    }
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const message = parse(Buffer.from(line, 'latin1').toString('utf8'))
      if (message === null) {
        link.destroy(new Error('the peer sent no message'))
        return
      }
      onMessage(message)
    }
  })
}

const parse = (line: string): ReceiverMessage | null => {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null || !('kind' in value)) return null
    const { kind } = value
    const bytes = 'bytes' in value && typeof value.bytes === 'number' ? value.bytes : 0
    const digest = 'digest' in value && typeof value.digest === 'string' ? value.digest : null
    if (kind === 'alive' || kind === 'ack' || kind === 'resume') return { kind, bytes }
    if (kind === 'ok') return { kind, bytes, digest }
    if (kind === 'sent') return { kind }
    if ((kind === 'failed' || kind === 'stranger') && 'message' in value) {
      return { kind, message: String(value.message) }
    }
    return null
  } catch {
    return null
  }
}
