import type { Socket } from 'node:net'
import { asDroverError } from '../../domain/errors.ts'
import { systemClock } from '../../lib/clock.ts'
import type { ReceiveSpec, SendSpec, TlsIdentity, TransferResult } from '../transfer.ts'
import { type Arrivals, createArrivals } from './arrivals.ts'
import { streamFailed } from './failure.ts'
import { flushing } from './flushing.ts'
import type { Channel, Order, Report } from './ipc.ts'
import { receivePlainly, sendPlainly } from './plain.ts'
import { receiveSecurely } from './receive.ts'
import { rehearse } from './rehearse.ts'
import { sendSecurely } from './send.ts'
import type { Task } from './task.ts'

/*
 * The process of one transfer at a time, forked by `vold` and idle until it gets its order. Only node's own modules are loaded, so that it starts fast.
 */

const progressMs = 200

const report = (message: Report, then?: () => void): void => {
  process.send?.(message, undefined, undefined, () => then?.())
}

/** What `vold` tells about the order that is being carried out. */
interface Job {
  readonly aborted: PromiseWithResolvers<never>
  /** Connections that `vold` still has a copy of, by number. */
  readonly sockets: Map<number, { channel: Channel; socket: Socket }>
  readonly arrivals: Readonly<Record<Channel, Arrivals>>
}

let job: Job | null = null
let rehearsal: Promise<void> = Promise.resolve()

const begin = (work: (task: Task, job: Job) => Promise<TransferResult>, identity: TlsIdentity): void => {
  const mine: Job = {
    aborted: Promise.withResolvers<never>(),
    sockets: new Map(),
    arrivals: { data: createArrivals(), status: createArrivals() },
  }
  mine.aborted.promise.catch(() => {})
  job = mine
  let bytes = 0
  let told = 0
  const timer = setInterval(() => {
    if (bytes !== told) report({ kind: 'progress', bytes })
    told = bytes
  }, progressMs)
  const task: Task = {
    identity,
    clock: systemClock,
    aborted: mine.aborted.promise,
    progress: (count) => {
      bytes = count
    },
  }
  work(task, mine).then(
    (result) => {
      clearInterval(timer)
      job = null
      report({ kind: 'done', result })
    },
    (error: unknown) => {
      const failure = asDroverError(error)
      report({ kind: 'failed', message: failure.message, details: failure.details }, () => process.exit(1))
    },
  )
}

const send = (spec: SendSpec, identity: TlsIdentity) =>
  begin((task) => (spec.plain ? sendPlainly(spec, task) : sendSecurely(spec, task)), identity)

const receive = (spec: ReceiveSpec, identity: TlsIdentity) =>
  begin(
    (task, { arrivals }) =>
      // A plain end counts what this process's commands read, and must not count a sync's.
      flushing(spec.plain ? undefined : spec.landing, task, (flushed) => receiveOrder(spec, flushed, arrivals)),
    identity,
  )

const receiveOrder = async (spec: ReceiveSpec, task: Task, arrivals: Job['arrivals']): Promise<TransferResult> => {
  const data = await Promise.race([arrivals.data.first, task.aborted])
  if (!spec.plain) return receiveSecurely(spec, arrivals.data, task)
  const status = await Promise.race([arrivals.status.first, task.aborted])
  // It counts what its command reads, and must not count the rehearsal's.
  await rehearsal
  return receivePlainly(spec, { data, status }, task)
}

const takeSocket = (channel: Channel, connection: number, socket: Socket): void => {
  // Until its reader takes it over nobody else listens for a reset.
  socket.on('error', () => {})
  if (job === null) return void socket.destroy()
  socket.setNoDelay(true).setKeepAlive(true, 10_000)
  job.sockets.set(connection, { channel, socket })
}

process.on('message', (order: Order, socket: unknown) => {
  if (order.kind === 'send') send(order.spec, order.identity)
  else if (order.kind === 'receive') receive(order.spec, order.identity)
  else if (order.kind === 'rehearse') rehearsal = rehearse(order.identity).catch(() => {})
  else if (order.kind === 'abort') job?.aborted.reject(streamFailed(order.reason))
  else if (order.kind === 'go') {
    const routed = job?.sockets.get(order.connection)
    job?.sockets.delete(order.connection)
    if (routed !== undefined) job?.arrivals[routed.channel].add(routed.socket)
  } else if (socket !== undefined) takeSocket(order.channel, order.connection, socket as Socket)
})

// `vold` is gone: nobody wants the outcome. The command ends with this process.
process.on('disconnect', () => process.exit(1))
