import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { DroverError, isErrorCode } from '../domain/errors.ts'

/** JSON answers between hosts are small; what is larger is not one of ours. */
const maxAnswerBytes = 64 * 2 ** 20

/** Parses a JSON answer; null for an empty one. @throws INTERNAL */
export const readJson = async (response: IncomingMessage, from: string): Promise<unknown> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxAnswerBytes) {
      response.destroy()
      throw new DroverError('INTERNAL', `the answer of ${from} is larger than ${maxAnswerBytes} bytes`)
    }
    chunks.push(chunk)
  }
  if (bytes === 0) return null
  const text = Buffer.concat(chunks).toString('utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new DroverError(
      'INTERNAL',
      `${from} answered status ${response.statusCode} with what is not JSON: ${JSON.stringify(text.slice(0, 80))}`,
      { cause: error },
    )
  }
}

const problem = z.object({
  code: z.string().refine(isErrorCode),
  detail: z.string().optional(),
  title: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
})

/** An RFC 9457 answer, as the error that it was on the other host. */
export const problemToError = (status: number, body: unknown, from: string): DroverError => {
  const parsed = problem.safeParse(body)
  if (!parsed.success) return new DroverError('INTERNAL', `${from} answered status ${status} without a reason`)
  const { code, detail, title, details } = parsed.data
  const message = detail ?? title ?? `${from} answered status ${status}`
  return new DroverError(code, message, details === undefined ? {} : { details })
}
