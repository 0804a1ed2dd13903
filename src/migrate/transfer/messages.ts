import type { Duplex } from 'node:stream'

/** From receiver to sender, JSON lines: signs of life while it works, then one verdict. */
export type ReceiverMessage =
  | { readonly kind: 'alive'; readonly bytes: number }
  | { readonly kind: 'ok'; readonly bytes: number; readonly digest: string | null }
  | { readonly kind: 'failed'; readonly message: string }
  /** Plain links: what the sender says on the status connection. */
  | { readonly kind: 'sent' }

export const aliveEveryMs = 5_000
/** Nothing heard for so long: the link or the other end is gone. */
export const silentMs = 30_000

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
    const bytes = 'bytes' in value && typeof value.bytes === 'number' ? value.bytes : 0
    const digest = 'digest' in value && typeof value.digest === 'string' ? value.digest : null
    if (value.kind === 'alive') return { kind: 'alive', bytes }
    if (value.kind === 'ok') return { kind: 'ok', bytes, digest }
    if (value.kind === 'sent') return { kind: 'sent' }
    if (value.kind === 'failed' && 'message' in value) return { kind: 'failed', message: String(value.message) }
    return null
  } catch {
    return null
  }
}
