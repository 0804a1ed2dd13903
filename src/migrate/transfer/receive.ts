import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ReceiveSpec, TransferResult } from '../transfer.ts'
import { type Reader, startReader } from './command-pipe.ts'
import { asStreamFailure, isStranger, linkLost, streamFailed } from './failure.ts'
import { closeGently } from './link.ts'
import { formatMessage } from './messages.ts'
import { type Arriving, arriveOver } from './receive-link.ts'
import { defaultPatienceMs, receiverGraceMs } from './redial.ts'
import { secureAsReceiver } from './secure.ts'
import { type ArrivingStream, createArrivingStream } from './stream-arrival.ts'
import type { Task } from './task.ts'

/** Connections that `vold` routed here: one for each link of the session. */
export interface Connections {
  /** Hands over those that are there and each that comes. */
  onEach(take: (socket: Socket) => void): void
}

/** Whoever knows a session's id can connect; so many at most are heard at a time. */
const maxUnproved = 8

/**
 * The receiving end over mutual TLS: one command, one digest, and as many links as it takes. A link counts once its certificate is
 * that of the session's peer and its hello has the session's key and a number above all before; it then takes the place of the
 * one before. Whatever fails that is dropped, and the session is none the worse.
 * @throws STREAM_FAILED; the command is gone then. `lost`: for want of a link
 */
export const receiveSecurely = async (spec: ReceiveSpec, from: Connections, task: Task): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  const session = createSession(spec, task)
  from.onEach((socket) => void session.offer(socket))
  try {
    const claimed = await Promise.race([session.stream, session.failed, task.aborted])
    await session.conclude(claimed)
    const ms = Math.round(task.clock.monotonic() - startedAt)
    const { links, wireBytes } = session.counts()
    return { ...claimed, ms, resentBytes: 0, wireBytes, reconnects: Math.max(0, links - 1) }
  } catch (error) {
    const failure = asStreamFailure(error, `receiving from host ${spec.peerHostId}`)
    await session.giveUp(failure.message)
    throw failure
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)

const createSession = (spec: ReceiveSpec, task: Task) => {
  const { clock, identity } = task
  const patienceMs = (spec.patienceMs ?? defaultPatienceMs) + receiverGraceMs
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {})
  const stream = Promise.withResolvers<{ bytes: number; digest: string }>()
  stream.promise.catch(() => {})
  const doneHeard = Promise.withResolvers<void>()
  let reader: Reader | null = null
  let arriving: ArrivingStream | null = null
  let current: { link: TLSSocket; over: Arriving } | null = null
  let verdict: string | null = null
  let lastNumber = 0
  let links = 0
  let wireBytes = 0
  let unproved = 0
  let aloneSince = clock.monotonic()
  let lastWords = 'nobody came'

  const patience = setInterval(
    () => {
      if (current === null && clock.monotonic() - aloneSince > patienceMs) {
        failed.reject(linkLost(`no link from host ${spec.peerHostId} for ${patienceMs / 1000} s: ${lastWords}`))
      }
    },
    Math.min(1_000, patienceMs / 4),
  )

  const start = (): Reader => {
    if (reader !== null) return reader
    const started = startReader(spec.argv)
    reader = started
    const end = started.command.ended.then(() => {
      // Its end before that of the stream is a failure, whatever it says.
      if (arriving?.claimed !== true) throw streamFailed(`${spec.argv.join(' ')} ended before the stream did`)
    })
    end.catch(failed.reject)
    return started
  }
  const accept = (link: TLSSocket, over: Arriving, key: Buffer, number: number): ArrivingStream | null => {
    const { input } = start()
    if (number <= lastNumber) return null
    if (arriving !== null && !isSame(arriving.key, key)) return null
    arriving ??= createArrivingStream(input, key, {
      progress: task.progress,
      drained: () => current?.link.resume(),
      ended: stream.resolve,
    })
    current?.over.drop()
    current = { link, over }
    lastNumber = number
    links += 1
    // Of a session's first link nothing can have come before.
    if (number > 1) link.write(formatMessage({ kind: 'resume', bytes: arriving.taken }))
    if (verdict !== null) link.write(verdict)
    return arriving
  }
  const offer = async (socket: Socket): Promise<void> => {
    if (unproved >= maxUnproved) return void socket.destroy()
    unproved += 1
    socket.on('error', () => {})
    let over: Arriving | null = null
    try {
      socket.write('GO\n')
      const link = await secureAsReceiver(socket, identity, spec.peerHostId)
      start()
      const mine = arriveOver(link, spec.peerHostId, task, {
        accept: (key, number) => accept(link, mine, key, number),
        came: (bytes) => {
          wireBytes += bytes
        },
      })
      over = mine
      await mine.accepted
      mine.broken.catch((error) => {
        if (current?.over !== mine) return
        link.destroy()
        current = null
        aloneSince = mine.heardAt()
        lastWords = asStreamFailure(error, 'the link broke').message
      })
      mine.failed.catch(failed.reject)
      mine.done.then(doneHeard.resolve, () => {})
    } catch (error) {
      over?.drop()
      // A stranger is being told so, and goes by himself.
      if (!isStranger(error)) socket.destroy()
      lastWords = asStreamFailure(error, 'a link was not taken').message
    } finally {
      unproved -= 1
    }
  }
  return {
    stream: stream.promise,
    failed: failed.promise,
    counts: () => ({ links, wireBytes }),
    offer,
    /** Hands the rest to the command, awaits its end, and tells the sender until it has heard. */
    async conclude(claimed: { bytes: number; digest: string }): Promise<void> {
      const { command } = start()
      await Promise.race([arriving?.finish(), command.ended, failed.promise, task.aborted])
      await Promise.race([command.ended, failed.promise, task.aborted])
      verdict = formatMessage({ kind: 'ok', ...claimed })
      current?.link.write(verdict)
      // Decided; who never says that he heard has gone.
      await Promise.race([doneHeard.promise, failed.promise.catch(() => {}), task.aborted])
      clearInterval(patience)
      current?.over.release()
      if (current !== null) await closeGently(current.link)
    },
    async giveUp(message: string): Promise<void> {
      clearInterval(patience)
      await reader?.command.kill()
      if (current === null) return
      current.over.release()
      const { link } = current
      if (link.writable) link.write(formatMessage({ kind: 'failed', message: message.slice(0, 4000) }))
      await closeGently(link)
    },
  }
}
