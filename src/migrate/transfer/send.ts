import type { TLSSocket } from 'node:tls'
import { DroverError } from '../../domain/errors.ts'
import type { SendSpec, TransferResult } from '../transfer.ts'
import { awaitGo, dial, firstDial, laterDial } from './connect.ts'
import { asStreamFailure, isLost } from './failure.ts'
import { controlFrame, headerBytes, helloFrame } from './frames.ts'
import { closeGently } from './link.ts'
import { createRedial, defaultPatienceMs, type Redial } from './redial.ts'
import { createReplayWindow, windowBytes } from './replay-window.ts'
import { secureAsSender } from './secure.ts'
import { type SendSession, sendOver } from './send-link.ts'
import { startSource } from './source.ts'
import type { Task } from './task.ts'
import { createTokenBucket } from './token-bucket.ts'

/** Header and body together are whole TLS records of 16 KiB; large, for each frame costs either end some turns of its event loop. */
const frameBytes = 512 * 1024

/**
 * The sending end over mutual TLS: one command, one digest, and as many links as it takes.
 * @param open how it comes by a link; the first has number 1
 * @throws STREAM_FAILED; the command is gone then. `lost`: for want of a link
 */
export const sendSecurely = async (spec: SendSpec, task: Task, open = dialSecurely): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  const bucket = spec.bwlimitBytes === null ? null : createTokenBucket(spec.bwlimitBytes, task.clock)
  const bodyBytes = Math.min(frameBytes - headerBytes, bucket?.pieceBytes ?? frameBytes)
  // The command starts at once: its first bytes wait in memory while the link is made.
  const source = startSource(spec.argv, bodyBytes, headerBytes, windowBytes)
  const window = createReplayWindow(source)
  const session: SendSession = {
    ...{ window, bucket, command: source.command, peerHostId: spec.peerHostId },
    ...{ isPacked: spec.compress === 'zstd', sentBytes: 0, resentBytes: 0, wireBytes: 0 },
  }
  const redial = createRedial((number) => open(spec, task, number), task, spec.patienceMs ?? defaultPatienceMs)
  let link: TLSSocket | null = null
  try {
    for (let links = 1; ; links += 1) {
      const next = await redial.next()
      link = next.link
      const before = window.acknowledged
      const over = sendOver(link, next.number, session, task)
      try {
        const { bytes, digest } = await over.sent
        const { resentBytes, wireBytes } = session
        const ms = Math.round(task.clock.monotonic() - startedAt)
        return { bytes, digest, ms, resentBytes, wireBytes, reconnects: links - 1 }
      } catch (error) {
        if (!isLost(error)) throw error
        link.destroy()
        link = null
        redial.broke(asStreamFailure(error, 'the link broke'), over.heardAt(), window.acknowledged > before)
      }
    }
  } catch (error) {
    const failure = asStreamFailure(error, `sending to host ${spec.peerHostId}`)
    await source.command.kill()
    if (link === null && !isLost(error)) link = await introduceLate(redial, window.key)
    if (link !== null) {
      if (link.writable) link.write(controlFrame('failure', Buffer.from(failure.message.slice(0, 4000))))
      await closeGently(link)
    }
    // What has gone over the link counts: where the receiver keeps what arrived, only the rest is sent.
    throw new DroverError(failure.code, failure.message, {
      cause: failure,
      details: { ...failure.details, wireBytes: session.wireBytes },
    })
  }
}

/** Called off in the middle of a dial: the other end may already take itself for connected, and would wait for long. */
const introduceLate = async (redial: Redial<TLSSocket>, key: Uint8Array): Promise<TLSSocket | null> => {
  const late = await redial.late(lastWordsMs)
  late?.link.on('error', () => {}).write(helloFrame(key, late.number))
  return late?.link ?? null
}
const lastWordsMs = 2_000

const dialSecurely = async (spec: SendSpec, task: Task, number: number): Promise<TLSSocket> => {
  const times = number === 1 ? firstDial : laterDial
  const socket = await dial(spec.address, { sessionId: spec.sessionId, channel: 'data', ticket: null }, times)
  await awaitGo(socket, spec.address, times)
  return secureAsSender(socket, task.identity, spec.peerHostId)
}
