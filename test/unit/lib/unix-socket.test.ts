import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { listenOnUnixSocket } from '../../../src/lib/unix-socket.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const server = (): Server => createServer((socket) => socket.on('error', () => {}).end('hello'))

test('listens with mode 0600, leaves nothing beside it, and goes at close', async () => {
  const directory = await temporaryDirectory()
  const path = join(directory, 'x.sock')
  const listener = await listenOnUnixSocket(server(), path)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readdir(directory)).toEqual(['x.sock'])
  await listener.close()
  await listener.close()
  expect(await readdir(directory)).toEqual([])
})

test('a live listener is left alone', async () => {
  const path = join(await temporaryDirectory(), 'x.sock')
  const first = await listenOnUnixSocket(server(), path)
  onTestFinished(() => first.close())
  await expect(listenOnUnixSocket(server(), path)).rejects.toMatchObject({ code: 'ADDRESS_TAKEN' })
  expect(existsSync(path)).toBe(true)
})

test('what a killed process left is replaced', async () => {
  const path = join(await temporaryDirectory(), 'x.sock')
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(existsSync(path)).toBe(true)
  const listener = await listenOnUnixSocket(server(), path)
  await listener.close()
})

test('a file that is not a socket is not removed, a missing directory is told', async () => {
  const directory = await temporaryDirectory()
  const path = join(directory, 'x.sock')
  await writeFile(path, 'mine')
  await expect(listenOnUnixSocket(server(), path)).rejects.toMatchObject({ code: 'ADDRESS_TAKEN' })
  await expect(listenOnUnixSocket(server(), join(directory, 'no', 'x.sock'))).rejects.toMatchObject({
    code: 'BAD_CONFIG',
  })
  await expect(listenOnUnixSocket(server(), join(directory, 'x'.repeat(120)))).rejects.toThrow(/107 bytes/)
})

test("a close takes away only its own socket, not a successor's", async () => {
  const path = join(await temporaryDirectory(), 'x.sock')
  const first = await listenOnUnixSocket(server(), path)
  await rm(path)
  const second = await listenOnUnixSocket(server(), path)
  onTestFinished(() => second.close())
  await first.close()
  expect(existsSync(path)).toBe(true)
})
