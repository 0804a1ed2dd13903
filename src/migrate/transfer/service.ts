import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { asDroverError, DroverError } from '../../domain/errors.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Exec } from '../../lib/exec.ts'
import { isErrno } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import type { ReceiveSpec, TlsIdentity, TransferService } from '../transfer.ts'
import { streamFailed } from './failure.ts'
import type { Order } from './ipc.ts'
import { isWord, sameTicket } from './preamble.ts'
import { createProcessPool } from './process-pool.ts'
import { readPreamble, refuse } from './routing.ts'
import { type RunningTransfer, runTransfer } from './running.ts'

const peerMs = 30_000
const minTicketChars = 32
/** Connections that have not said their session yet; more are refused, so that strangers cannot pile them up. */
const maxUnrouted = 256

/** So many sessions that failed or were called off are remembered, with the reason. */
const maxFailures = 64

interface Session {
  readonly spec: ReceiveSpec
  readonly running: RunningTransfer
  /** On a plain link each kind of connection is taken once. Over TLS the process tells the peer from others, and takes another link from it. */
  readonly taken: Set<string>
  readonly arrived: () => void
}

/** Both ends of transfers on this host: see ../transfer.ts for the contract and the wire. */
export const createTransferService = (deps: { exec: Exec; logger: Logger; clock: Clock }): TransferService => {
  const logger = deps.logger.child({ room: 'transfer' })
  const pool = createProcessPool(deps.exec, (child) => {
    if (identity !== null) child.send({ kind: 'rehearse', identity } satisfies Order, () => {})
  })
  const sessions = new Map<string, Session>()
  /** The last words of one may be lost with its link: whoever dials again hears them here. */
  const failures = new Map<string, string>()
  const live = new Set<RunningTransfer>()
  let identity: TlsIdentity | null = null
  let server: Server | null = null
  const unrouted = new Set<Socket>()

  const knownIdentity = (): TlsIdentity => {
    if (identity === null)
      throw streamFailed('this host has no certificate yet; it must be in a cluster before it can transfer')
    return identity
  }
  const begin = (order: Parameters<typeof runTransfer>[1]): RunningTransfer => {
    const running = runTransfer(pool.take(), order, logger, pool.giveBack)
    live.add(running)
    running.done.then(
      () => live.delete(running),
      () => {
        live.delete(running)
        // It took its process along, and is likely to be tried again.
        if (server !== null) pool.warm()
      },
    )
    return running
  }
  const checkSpec = (spec: { sessionId: string; plain: boolean; ticket?: string }): void => {
    if (!isWord(spec.sessionId)) throw streamFailed(`${JSON.stringify(spec.sessionId)} is no session id`)
    if (spec.plain && (spec.ticket === undefined || !isWord(spec.ticket) || spec.ticket.length < minTicketChars)) {
      throw streamFailed(
        `session ${spec.sessionId} is plain and needs a ticket of ${minTicketChars} characters or more`,
      )
    }
  }

  const route = async (socket: Socket): Promise<void> => {
    socket.on('error', () => {})
    if (unrouted.size >= maxUnrouted) return void socket.destroy()
    unrouted.add(socket)
    const preamble = await readPreamble(socket).finally(() => {
      unrouted.delete(socket)
    })
    if (preamble === null) return void socket.destroy()
    const session = sessions.get(preamble.sessionId)
    if (session === undefined) {
      return refuse(socket, failures.get(preamble.sessionId) ?? `session ${preamble.sessionId} is not expected`)
    }
    const { spec } = session
    const ticketFits = spec.plain
      ? preamble.ticket !== null && sameTicket(preamble.ticket, spec.ticket ?? '')
      : preamble.ticket === null
    if (!ticketFits) return refuse(socket, `session ${preamble.sessionId} has another ticket`)
    if (spec.plain && session.taken.has(preamble.channel))
      return refuse(socket, `session ${preamble.sessionId} has its peer already`)
    session.taken.add(preamble.channel)
    session.running.route(preamble.channel, socket)
    if (session.taken.size === (spec.plain ? 2 : 1)) session.arrived()
  }

  return {
    async listen({ host, port }) {
      const listening = createServer({ pauseOnConnect: false }, (socket) => {
        route(socket).catch((error: unknown) => {
          logger.warn({ error: String(error) }, 'routing a data connection failed')
          socket.destroy()
        })
      })
      try {
        listening.listen({ host, port })
        await once(listening, 'listening')
      } catch (error) {
        if (isErrno(error, 'EADDRINUSE')) {
          throw new DroverError(
            'ADDRESS_TAKEN',
            `data port ${host}:${port} is taken; end what listens there or choose another --data-listen`,
            { cause: error },
          )
        }
        throw new DroverError(
          'BAD_CONFIG',
          `data port ${host}:${port} cannot be bound: ${error instanceof Error ? error.message : error}`,
          { cause: error },
        )
      }
      server = listening
    },

    setIdentity(next) {
      identity = next
    },

    async receive(spec) {
      checkSpec(spec)
      if (sessions.has(spec.sessionId)) throw streamFailed(`session ${spec.sessionId} is open already`)
      const running = begin({ kind: 'receive', spec, identity: knownIdentity() })
      const waiting = new AbortController()
      sessions.set(spec.sessionId, { spec, running, taken: new Set(), arrived: () => waiting.abort() })
      deps.clock.sleep(peerMs, waiting.signal).then(
        () => running.end(`no peer came for session ${spec.sessionId} within ${peerMs / 1000} s`),
        () => {},
      )
      const forget = () => {
        waiting.abort()
        sessions.delete(spec.sessionId)
      }
      running.done.then(forget, (error: unknown) => {
        forget()
        failures.set(spec.sessionId, running.endedFor() ?? asDroverError(error).message)
        const [oldest] = failures.keys()
        if (failures.size > maxFailures && oldest !== undefined) failures.delete(oldest)
      })
      return running
    },

    async send(spec) {
      checkSpec(spec)
      return begin({ kind: 'send', spec, identity: knownIdentity() })
    },

    warm: () => pool.warm(),

    async close() {
      const closing = server
      server = null
      const ends = [...live].map((running) => {
        running.end('vold is stopping')
        return running.done.catch(() => {})
      })
      await Promise.all(ends)
      pool.close()
      for (const socket of unrouted) socket.destroy()
      // The port is free at once. Its callback would wait for sockets that went to processes which are no more.
      closing?.close()
    },
  }
}
