import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import { ensureDirectory, readIfExists, writeJsonDurably } from '../lib/files.ts'
import { KeyedMutex } from '../lib/mutex.ts'
import type { TokenBook } from './cluster.ts'
import { clusterDirectory } from './identity-files.ts'
import { formatToken } from './token.ts'

/** A token itself is nowhere on disk: only its SHA-256, from which it cannot be had back. */
const shape = z.object({ tokens: z.array(z.object({ hash: z.string(), expiresAtMs: z.number() })) })
type Entry = z.infer<typeof shape>['tokens'][number]

const hashOf = (secret: string) => createHash('sha256').update(secret).digest('hex')

/** Tokens of the CA with that fingerprint; read from disk at every use, so that nothing is remembered twice. */
export const openTokenBook = (options: { dataDir: string; caFingerprint: string; clock: Clock }): TokenBook => {
  const { dataDir, caFingerprint, clock } = options
  const path = join(clusterDirectory(dataDir), 'tokens.json')
  const mutex = new KeyedMutex<string>()

  /** Those that have not expired. */
  const read = async (): Promise<Entry[]> => {
    const text = await readIfExists(path)
    if (text === null) return []
    try {
      return shape.parse(JSON.parse(text)).tokens.filter((entry) => entry.expiresAtMs > clock.now())
    } catch (error) {
      throw new DroverError('BAD_CONFIG', `${path} is damaged; remove it and issue new tokens with vol token`, {
        cause: error,
      })
    }
  }
  const write = async (tokens: readonly Entry[]): Promise<void> => {
    await ensureDirectory(clusterDirectory(dataDir))
    await writeJsonDurably(path, { tokens })
  }

  return {
    issue: (ttlMs) =>
      mutex.run(path, async () => {
        const secret = randomBytes(32).toString('hex')
        const expiresAtMs = clock.now() + ttlMs
        await write([...(await read()), { hash: hashOf(secret), expiresAtMs }])
        return formatToken({ caFingerprint, secret, expiresAt: new Date(expiresAtMs).toISOString() })
      }),

    redeem: (secret, use) =>
      mutex.run(path, async () => {
        const hash = hashOf(secret)
        if (!(await read()).some((entry) => entry.hash === hash)) {
          throw new DroverError(
            'TOKEN_INVALID',
            'the token is unknown, was used already or has expired; run vol token on the control host for a new one',
          )
        }
        await use?.()
        await write((await read()).filter((entry) => entry.hash !== hash))
      }),
  }
}
