import type { ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Logger } from '../../lib/logger.ts'
import type { Transfer, TransferResult } from '../transfer.ts'
import { streamFailed } from './failure.ts'
import type { Channel, Order, Report } from './ipc.ts'

/** What an aborted process gets to tell its peer and to end its command. */
const graceMs = 5_000

export interface RunningTransfer extends Transfer {
  /** Gives a connection away to the process. */
  route(channel: Channel, socket: Socket): void
  /** Calls it off; the reason is what `done` rejects with and what the peer hears. */
  end(reason: string): void
}

/** One transfer in a process of its own, seen from `vold`. */
export const runTransfer = (
  child: ChildProcess,
  order: Extract<Order, { kind: 'send' | 'receive' }>,
  logger: Logger,
): RunningTransfer => {
  const { sessionId } = order.spec
  let bytes = 0
  let killer: NodeJS.Timeout | null = null
  let outcome: Exclude<Report, { kind: 'progress' }> | null = null
  let ending: string | null = null

  const tell = (message: Order) => {
    if (child.connected) child.send(message, () => {})
  }
  const { promise: done, resolve, reject } = Promise.withResolvers<TransferResult>()
  done.catch(() => {})

  child.on('message', (message: Report) => {
    if (message.kind === 'progress') {
      bytes = message.bytes
      return
    }
    outcome ??= message
    if (message.kind === 'done') bytes = message.result.bytes
    // It has nothing left to do, and its command is gone. Its end takes the kernel a few milliseconds that nobody need wait for.
    child.kill('SIGKILL')
    if (message.kind === 'done') resolve(message.result)
  })
  const onGone = (how: string) => {
    if (killer !== null) clearTimeout(killer)
    logger.debug({ sessionId, kind: order.kind, outcome: outcome?.kind ?? how, bytes }, 'transfer ended')
    if (outcome?.kind === 'done') {
      return resolve(outcome.result)
    }
    if (outcome?.kind === 'failed') return reject(streamFailed(outcome.message, { sessionId, ...outcome.details }))
    reject(
      streamFailed(ending ?? `the process of session ${sessionId} ended in the middle of the stream (${how})`, {
        sessionId,
      }),
    )
  }
  child.once('exit', (code, signal) => onGone(signal === null ? `exit status ${code}` : `signal ${signal}`))
  child.once('error', (error) => {
    if (child.pid === undefined) onGone(error.message)
  })
  const end = (reason: string) => {
    ending ??= reason
    tell({ kind: 'abort', reason })
    killer ??= setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  tell(order)
  return {
    done,
    progress: () => ({ bytes }),
    abort: () => end(`session ${sessionId} was called off`),
    end,
    route(channel, socket) {
      // Our copy is closed only when the process has its own. Were GO said before, we could read what is the process's.
      child.send({ kind: 'socket', channel } satisfies Order, socket, {}, (error) => {
        if (error === null) tell({ kind: 'go', channel })
        else socket.destroy()
      })
    },
  }
}
