import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Argv } from '../src/backends/backend.ts'
import type { TlsIdentity } from '../src/migrate/transfer.ts'
import { freePort } from '../test/unit/transfer/hosts.ts'

/** Two addresses of socat: where it listens, and where it connects to. */
export interface Addresses {
  readonly listen: (port: number) => string
  readonly connect: (port: number) => string
}

export const plainly: Addresses = {
  listen: (port) => `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr`,
  connect: (port) => `TCP:127.0.0.1:${port}`,
}

/** Each end proves itself to the other, as Drover's do. */
export const inTls = (directory: string, ends: { readonly a: TlsIdentity; readonly b: TlsIdentity }): Addresses => {
  const options = (name: 'a' | 'b', peer: string): string => {
    const file = (kind: string, text: string): string => {
      const path = join(directory, `socat-${name}.${kind}`)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    }
    const { certPem, keyPem, caPem } = ends[name]
    return `cert=${file('cert', certPem)},key=${file('key', keyPem)},cafile=${file('ca', caPem)},verify=1,commonname=${peer}`
  }
  const [sender, receiver] = [options('a', 'b'), options('b', 'a')]
  return {
    listen: (port) => `OPENSSL-LISTEN:${port},bind=127.0.0.1,reuseaddr,${receiver}`,
    connect: (port) => `OPENSSL:127.0.0.1:${port},${sender}`,
  }
}

const shell = (script: string, ...args: readonly string[]): ChildProcess =>
  spawn('bash', ['-o', 'pipefail', '-c', script, 'bash', ...args], { stdio: ['ignore', 'ignore', 'inherit'] })

const ended = async (child: ChildProcess, what: string): Promise<void> => {
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${what} ended with ${code}`)
}

const listens = (port: number): boolean => {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n')
  return lines.some((line) => line.includes(hex) && line.includes(' 0A '))
}

/**
 * `SEND | socat` to `socat | RECEIVE`. One way only (-u): socat would else wait half a second for the other direction after the end.
 * @returns milliseconds from the sender's start to the end of both, once somebody listens
 */
export const throughSocat = async ({ listen, connect }: Addresses, send: Argv, receive: Argv): Promise<number> => {
  const port = await freePort()
  const receiving = shell('from=$1; shift; socat -u -b 1048576 "$from" - | "$@"', listen(port), ...receive)
  const received = ended(receiving, 'receiving through socat')
  while (!listens(port)) await new Promise((resolve) => setTimeout(resolve, 10))
  const startedAt = performance.now()
  const sending = shell('to=$1; shift; "$@" | socat -u -b 1048576 - "$to"', connect(port), ...send)
  await Promise.all([received, ended(sending, 'sending through socat')])
  return performance.now() - startedAt
}
