import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseToken } from '../../../src/cluster/token.ts'
import { openTokenBook } from '../../../src/cluster/token-book.ts'
import { DroverError, hasCode } from '../../../src/domain/errors.ts'
import { Cleanup, movableClock } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

const caFingerprint = 'ab'.repeat(32)
let dataDir: string
let clock: ReturnType<typeof movableClock>
beforeEach(async () => {
  dataDir = await cleanup.directory()
  clock = movableClock()
})
const book = () => openTokenBook({ dataDir, caFingerprint, clock })
const secretOf = (token: string) => parseToken(token).secret
const invalid = (work: Promise<unknown>) =>
  expect(work).rejects.toSatisfy((error) => hasCode(error, 'TOKEN_INVALID'), 'rejects with TOKEN_INVALID')

test('a token pins the CA, is redeemed once, also across a restart', async () => {
  const token = await book().issue(60_000)
  expect(token).toMatch(/^[\w-]+$/)
  expect(parseToken(` ${token}\n`)).toMatchObject({ caFingerprint })
  await book().redeem(secretOf(token))
  await invalid(book().redeem(secretOf(token)))
})

test('it is on disk only as a hash, in a file for its owner only', async () => {
  const token = await book().issue(60_000)
  const path = join(dataDir, 'cluster', 'tokens.json')
  const text = await readFile(path, 'utf8')
  expect(text).not.toContain(secretOf(token))
  expect(text).not.toContain(token)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('of many that redeem it at once one succeeds', async () => {
  const tokens = book()
  const secret = secretOf(await tokens.issue(60_000))
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => tokens.redeem(secret, async () => {})))
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
})

test('it expires', async () => {
  const secret = secretOf(await book().issue(60_000))
  clock.advance(59_000)
  await book().issue(1)
  clock.advance(2_000)
  await invalid(book().redeem(secret))
})

test('an unknown secret is refused and the others stay', async () => {
  const secret = secretOf(await book().issue(60_000))
  await invalid(book().redeem('0'.repeat(64)))
  await invalid(book().redeem(''))
  await book().redeem(secret)
})

test('what fails while it is used leaves it usable', async () => {
  const secret = secretOf(await book().issue(60_000))
  const used = book().redeem(secret, async () => {
    throw new DroverError('HOST_EXISTS', 'taken')
  })
  await expect(used).rejects.toSatisfy((error) => hasCode(error, 'HOST_EXISTS'))
  await book().redeem(secret)
})

test('text that is not a whole token is refused without repeating it', async () => {
  const token = await book().issue(60_000)
  const json = JSON.parse(Buffer.from(token, 'base64url').toString())
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const texts = [
    '',
    'x',
    token.slice(0, -9),
    encode({}),
    encode({ ...json, secret: 1 }),
    encode({ ...json, caFingerprint: 'zz' }),
  ]
  for (const text of texts) {
    expect(() => parseToken(text)).toThrow(expect.objectContaining({ code: 'TOKEN_INVALID' }))
    if (text.length > 5) expect(() => parseToken(text)).not.toThrow(text)
  }
})

test('a damaged book is an error', async () => {
  const secret = secretOf(await book().issue(60_000))
  await writeFile(join(dataDir, 'cluster', 'tokens.json'), '{')
  await expect(book().redeem(secret)).rejects.toSatisfy((error) => hasCode(error, 'BAD_CONFIG'))
})
