import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import type { JoinToken } from './cluster.ts'

const shape = z.object({
  caFingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  expiresAt: z.iso.datetime(),
})

export const formatToken = (token: JoinToken): string => Buffer.from(JSON.stringify(token)).toString('base64url')

/** @throws TOKEN_INVALID; the token's text, a secret, is not repeated in it */
export const parseToken = (text: string): JoinToken => {
  try {
    return shape.parse(JSON.parse(Buffer.from(text.trim(), 'base64url').toString('utf8')))
  } catch (error) {
    throw new DroverError('TOKEN_INVALID', 'that is not a whole join token; copy the line that vol token prints', {
      cause: error,
    })
  }
}
