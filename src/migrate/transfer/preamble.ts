import { createHash, timingSafeEqual } from 'node:crypto'
import type { Channel } from './ipc.ts'

/** The first line on the data port, in clear: which session this connection belongs to. */
export interface Preamble {
  readonly sessionId: string
  readonly channel: Channel
  /** Plain links only: the one-time ticket that both ends got over the control channel. */
  readonly ticket: string | null
}

export const maxPreambleBytes = 512
const word = /^[A-Za-z0-9._:-]{1,200}$/

/** `DROVER/1 SESSION\n`, or on a plain link `DROVER/1 SESSION data|status TICKET\n`. */
export const formatPreamble = (preamble: Preamble): string =>
  preamble.ticket === null
    ? `DROVER/1 ${preamble.sessionId}\n`
    : `DROVER/1 ${preamble.sessionId} ${preamble.channel} ${preamble.ticket}\n`

/** The line without its newline; null when it is not one. */
export const parsePreamble = (line: string): Preamble | null => {
  const [magic, sessionId, channel, ticket, ...rest] = line.split(' ')
  if (magic !== 'DROVER/1' || sessionId === undefined || !word.test(sessionId) || rest.length > 0) return null
  if (channel === undefined) return { sessionId, channel: 'data', ticket: null }
  if (channel !== 'data' && channel !== 'status') return null
  return ticket !== undefined && word.test(ticket) ? { sessionId, channel, ticket } : null
}

export const isWord = (text: string): boolean => word.test(text)

/** Compares without telling by its time how much was right. */
export const sameTicket = (left: string, right: string): boolean => timingSafeEqual(digest(left), digest(right))
const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
