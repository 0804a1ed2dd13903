import type { Socket } from 'node:net'
import { asDroverError } from '../../domain/errors.ts'
import { systemClock } from '../../lib/clock.ts'
import type { ReceiveSpec, SendSpec, TlsIdentity, TransferResult } from '../transfer.ts'
import { streamFailed } from './failure.ts'
import type { Channel, Order, Report } from './ipc.ts'
import { receivePlainly, sendPlainly } from './plain.ts'
import { receiveSecurely } from './receive.ts'
import { rehearse } from './rehearse.ts'
import { sendSecurely } from './send.ts'
import type { Task } from './task.ts'

/*
 * The process of one transfer, forked by `vold` and idle until it gets its order. Only node's own modules are loaded, so that it starts fast.
 */

const progressMs = 200

const report = (message: Report, then?: () => void): void => {
  process.send?.(message, undefined, undefined, () => then?.())
}

const aborted = Promise.withResolvers<never>()
aborted.promise.catch(() => {})
const sockets = new Map<Channel, Socket>()
const arrivals = { data: Promise.withResolvers<Socket>(), status: Promise.withResolvers<Socket>() }

let rehearsal: Promise<void> = Promise.resolve()

const run = (work: (task: Task) => Promise<TransferResult>, identity: TlsIdentity): void => {
  let bytes = 0
  let told = 0
  const timer = setInterval(() => {
    if (bytes !== told) report({ kind: 'progress', bytes })
    told = bytes
  }, progressMs)
  const task: Task = {
    identity,
    clock: systemClock,
    aborted: aborted.promise,
    progress: (count) => {
      bytes = count
    },
  }
  work(task).then(
    (result) => {
      clearInterval(timer)
      report({ kind: 'done', result }, () => process.exit(0))
    },
    (error: unknown) => {
      const failure = asDroverError(error)
      report({ kind: 'failed', message: failure.message, details: failure.details }, () => process.exit(1))
    },
  )
}

const send = (spec: SendSpec, identity: TlsIdentity) =>
  run((task) => (spec.plain ? sendPlainly(spec, task) : sendSecurely(spec, task)), identity)

const receive = (spec: ReceiveSpec, identity: TlsIdentity) =>
  run(async (task) => {
    const data = await Promise.race([arrivals.data.promise, task.aborted])
    if (!spec.plain) return receiveSecurely(spec, data, task)
    const status = await Promise.race([arrivals.status.promise, task.aborted])
    // It counts what its command reads, and must not count the rehearsal's.
    await rehearsal
    return receivePlainly(spec, { data, status }, task)
  }, identity)

process.on('message', (order: Order, socket: unknown) => {
  if (order.kind === 'send') send(order.spec, order.identity)
  else if (order.kind === 'receive') receive(order.spec, order.identity)
  else if (order.kind === 'rehearse') rehearsal = rehearse(order.identity).catch(() => {})
  else if (order.kind === 'abort') aborted.reject(streamFailed(order.reason))
  else if (order.kind === 'go') {
    const routed = sockets.get(order.channel)
    if (routed !== undefined) arrivals[order.channel].resolve(routed)
  } else if (socket !== undefined) {
    const routed = socket as Socket
    // Until its reader takes it over nobody else listens for a reset.
    routed.on('error', () => {})
    routed.setNoDelay(true).setKeepAlive(true, 10_000)
    sockets.set(order.channel, routed)
  }
})

// `vold` is gone: nobody wants the outcome. The command ends with this process.
process.on('disconnect', () => process.exit(1))
