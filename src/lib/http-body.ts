import type { IncomingMessage } from 'node:http'
import { DroverError } from '../domain/errors.ts'

/** How much of a body that is refused anyway is still read, so that its sender gets to hear the answer. */
const drainBytes = 64 * 2 ** 20

/**
 * The whole body of a request, at most `limitBytes` of it kept.
 * A larger one is read to its end and thrown away first: answering early, to a client that only writes, is a reset to it.
 * @throws BODY_TOO_LARGE, BAD_REQUEST when the connection ended in the middle
 */
export const readBody = async (request: IncomingMessage, limitBytes: number): Promise<Buffer> => {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes <= limitBytes) chunks.push(chunk)
      else chunks.length = 0
      if (bytes > drainBytes) break
    }
  } catch (error) {
    throw new DroverError('BAD_REQUEST', 'the connection ended before the request was whole; nothing was done', {
      cause: error,
    })
  }
  if (bytes > limitBytes) {
    throw new DroverError('BODY_TOO_LARGE', `the request body is larger than ${limitBytes} bytes; send less`, {
      details: { limitBytes },
    })
  }
  return Buffer.concat(chunks)
}
