import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ReceiveSpec, TransferResult } from '../transfer.ts'
import { type StreamCommand, startCommand } from './command.ts'
import { createDigest, digestKeyBytes, type StreamDigest } from './digest.ts'
import { asStreamFailure, streamFailed } from './failure.ts'
import { createFrameParser, parseEnd } from './frames.ts'
import { closeGently, watchLink } from './link.ts'
import { formatMessage } from './messages.ts'
import { secureAsReceiver } from './secure.ts'
import { createSink } from './sink.ts'
import type { Task } from './task.ts'

const blockBytes = 256 * 1024

/** The receiving end over mutual TLS, on a connection that `vold` routed here. @throws STREAM_FAILED; the command is gone then. */
export const receiveSecurely = async (spec: ReceiveSpec, socket: Socket, task: Task): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  let command: StreamCommand | null = null
  let link: TLSSocket | null = null
  try {
    socket.write('GO\n')
    const securing = secureAsReceiver(socket, task.identity, spec.peerHostId)
    link = await Promise.race([securing, task.aborted])
    command = startCommand(spec.argv, 'pipe', 'ignore')
    const received = await receiveStream(link, command, spec, task)
    return { ...received, ms: Math.round(task.clock.monotonic() - startedAt) }
  } catch (error) {
    const failure = asStreamFailure(error, `receiving from host ${spec.peerHostId}`)
    await command?.kill()
    if (link === null) socket.destroy()
    else {
      if (link.writable) link.write(formatMessage({ kind: 'failed', message: failure.message.slice(0, 4000) }))
      await closeGently(link)
    }
    throw failure
  }
}

const receiveStream = async (
  link: TLSSocket,
  command: StreamCommand,
  spec: ReceiveSpec,
  task: Task,
): Promise<{ bytes: number; digest: string }> => {
  const watch = watchLink(
    link,
    spec.peerHostId,
    task.clock,
    () => !link.isPaused(),
    () => link.write(formatMessage({ kind: 'alive', bytes: 0 })),
  )
  const early = command.ended.then(() => {
    throw streamFailed(`${spec.argv.join(' ')} ended before the stream did`)
  })
  early.catch(() => {})
  try {
    const arriving = arrive(link, command, spec, task, watch.heard)
    const claimed = await Promise.race([arriving.ended, early, watch.broken, task.aborted])
    await Promise.race([arriving.finish(), command.ended.then(() => {}), watch.broken, task.aborted])
    await Promise.race([command.ended, watch.broken, task.aborted])
    await new Promise<void>((resolve, reject) => {
      watch.release()
      link.write(formatMessage({ kind: 'ok', ...claimed }), (error) => (error ? reject(error) : resolve()))
    })
    await closeGently(link)
    return claimed
  } finally {
    watch.release()
  }
}

interface Arrival {
  /** The sender said that this was all, and what it counted is what came. */
  readonly ended: Promise<{ bytes: number; digest: string }>
  /** Hands the rest to the command and closes its input. */
  finish(): Promise<void>
}

const arrive = (link: TLSSocket, command: StreamCommand, spec: ReceiveSpec, task: Task, heard: () => void): Arrival => {
  const { stdin } = command.child
  if (stdin === null) throw new Error('the command has no input')
  const ended = Promise.withResolvers<{ bytes: number; digest: string }>()
  ended.promise.catch(() => {})
  // A command that ends early is told by its exit status, which says more than EPIPE.
  stdin.on('error', () => {})
  let digest: StreamDigest | null = null
  let bytes = 0
  const sink = createSink(
    stdin,
    blockBytes,
    (block) => {
      digest?.update(block)
      bytes += block.length
      task.progress(bytes)
    },
    () => link.resume(),
  )
  const parse = createFrameParser({
    data: (piece) => {
      if (digest === null) throw new Error('data came before the digest key')
      if (sink.push(piece)) link.pause()
    },
    control: (kind, body) => {
      if (kind === 'hello' && digest === null && body.length === digestKeyBytes) digest = createDigest(body)
      else if (kind === 'failure')
        ended.reject(streamFailed(`host ${spec.peerHostId} failed to send: ${body.toString()}`))
      else if (kind === 'end' && digest !== null) ended.resolve(checkEnd(body))
      else if (kind !== 'alive') throw new Error(`the peer sent ${kind} out of order`)
    },
  })
  const checkEnd = (body: Buffer) => {
    const claimed = parseEnd(body)
    sink.flush()
    const text = digest?.end() ?? ''
    if (claimed.bytes !== bytes) {
      throw new Error(`${bytes} bytes came of ${claimed.bytes}`)
    }
    if (claimed.digest !== text) throw new Error(`the digest of ${bytes} bytes is not the sender's`)
    return claimed
  }
  link.on('data', (piece: Buffer) => {
    heard()
    try {
      parse(piece)
    } catch (error) {
      ended.reject(asStreamFailure(error, `the stream from host ${spec.peerHostId} is damaged`))
      link.removeAllListeners('data')
    }
  })
  return { ended: ended.promise, finish: sink.end }
}
