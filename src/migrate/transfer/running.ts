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
  /** Why it was called off; null: it was not. */
  endedFor(): string | null
}

/** One transfer in a process of its own, seen from `vold`. A process that did well is given back and may get another order; one that failed has ended. */
export const runTransfer = (
  child: ChildProcess,
  order: Extract<Order, { kind: 'send' | 'receive' }>,
  logger: Logger,
  giveBack: (child: ChildProcess) => void,
): RunningTransfer => {
  const { sessionId } = order.spec
  let bytes = 0
  let killer: NodeJS.Timeout | null = null
  let outcome: Exclude<Report, { kind: 'progress' }> | null = null
  let ending: string | null = null
  let connections = 0

  /** Once it is done the process may be another transfer's. */
  const tell = (message: Order) => {
    if (child.connected && outcome?.kind !== 'done') child.send(message, () => {})
  }
  const { promise: done, resolve, reject } = Promise.withResolvers<TransferResult>()
  done.catch(() => {})

  const onMessage = (message: Report) => {
    if (message.kind === 'progress') {
      bytes = message.bytes
      return
    }
    outcome ??= message
    if (message.kind === 'failed') return void child.kill('SIGKILL')
    bytes = message.result.bytes
    child.off('message', onMessage).off('exit', onExit).off('error', onError)
    if (killer !== null) clearTimeout(killer)
    logger.debug({ sessionId, kind: order.kind, outcome: 'done', bytes }, 'transfer ended')
    giveBack(child)
    resolve(message.result)
  }
  const onGone = (how: string) => {
    if (killer !== null) clearTimeout(killer)
    logger.debug({ sessionId, kind: order.kind, outcome: outcome?.kind ?? how, bytes }, 'transfer ended')
    if (outcome?.kind === 'failed') return reject(streamFailed(outcome.message, { sessionId, ...outcome.details }))
    reject(
      streamFailed(ending ?? `the process of session ${sessionId} ended in the middle of the stream (${how})`, {
        sessionId,
        ...(ending === null ? { died: true } : {}),
      }),
    )
  }
  const onExit = (code: number | null, signal: string | null) =>
    onGone(signal === null ? `exit status ${code}` : `signal ${signal}`)
  const onError = (error: Error) => {
    if (child.pid === undefined) onGone(error.message)
  }
  child.on('message', onMessage).once('exit', onExit).on('error', onError)
  const end = (reason: string) => {
    ending ??= reason
    tell({ kind: 'abort', reason })
    if (outcome?.kind !== 'done') killer ??= setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  tell(order)
  return {
    done,
    progress: () => ({ bytes }),
    abort: () => end(`session ${sessionId} was called off`),
    end,
    endedFor: () => ending,
    route(channel, socket) {
      if (outcome !== null || !child.connected) return void socket.destroy()
      // Our copy is closed only when the process has its own. Were GO said before, we could read what is the process's.
      connections += 1
      const connection = connections
      child.send({ kind: 'socket', channel, connection } satisfies Order, socket, {}, (error) => {
        if (error === null) tell({ kind: 'go', connection })
        else socket.destroy()
      })
    },
  }
}
