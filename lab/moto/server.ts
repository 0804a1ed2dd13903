import { spawn } from 'node:child_process'
import { LabError } from '../command.ts'
import { motoTree } from './tree.ts'

const startMs = 60_000

export interface Moto {
  readonly endpoint: string
  stop(): Promise<void>
}

/** moto's server on a port of this machine, as nobody, in namespaces of its own: it ends with us, however we end. */
export const startMoto = async (): Promise<Moto> => {
  const tree = await motoTree()
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--pid', '--fork', '--kill-child', '--propagation'],
      // Who becomes another user is not told of his parent's death any more, if that was to be before.
      ...['private', '--', 'chroot', tree, 'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
      ...['--pdeathsig', 'KILL', '--', '/usr/bin/python3', '-u', '-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', HOME: '/', NO_COLOR: '1' },
    },
  )
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
  }
  let said = ''
  const endpoint = await new Promise<string>((resolve, reject) => {
    const outOfTime = setTimeout(() => fail(`it did not say where it listens within ${startMs / 1000} s`), startMs)
    const fail = (why: string) => {
      clearTimeout(outOfTime)
      reject(new LabError(`moto did not start: ${why}: ${said.slice(-500)}`))
    }
    const hear = (chunk: Buffer) => {
      // It logs each request, for which nobody waits.
      if (said.length < 10_000) said += chunk
      const found = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said)?.[1]
      if (found === undefined) return
      clearTimeout(outOfTime)
      resolve(found)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.once('error', (error) => fail(error.message))
    child.once('close', (code) => fail(`it ended (${code})`))
  }).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return { endpoint, stop }
}
