import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { TlsIdentity } from '../src/migrate/transfer.ts'
import type { BareOrder, BareReport } from './bare-end.ts'
import { type Method, receiveArgv, sendArgvOf } from './transfer-methods.ts'
import { run } from './transfer-pools.ts'

/** `btrfs send` to `btrfs receive` through a TLS pipe between two processes, which are kept, as Drover keeps its own. */
export const startBareTransfer = (identities: {
  a: TlsIdentity
  b: TlsIdentity
}): { method: Method; close(): void } => {
  const start = () => fork(join(import.meta.dirname, 'bare-end.ts'), [], { execArgv: [] })
  const ends = { send: start(), receive: start() }
  const tell = (child: ChildProcess, order: BareOrder) => child.send(order)
  const hear = <K extends BareReport['kind']>(child: ChildProcess, kind: K) =>
    new Promise<Extract<BareReport, { kind: K }>>((resolve, reject) => {
      const onMessage = (message: BareReport) => {
        if (message.kind !== kind) return
        child.off('message', onMessage).off('exit', onExit)
        resolve(message as Extract<BareReport, { kind: K }>)
      }
      const onExit = () => reject(new Error('an end of the TLS pipe ended'))
      child.on('message', onMessage).on('exit', onExit)
    })
  return {
    method: async (job) => {
      const startedAt = performance.now()
      const listening = hear(ends.send, 'listening')
      tell(ends.send, { kind: 'send', argv: sendArgvOf(job), identity: identities.a, peerHostId: 'b' })
      const { port } = await listening
      const done = Promise.all([hear(ends.send, 'done'), hear(ends.receive, 'done')])
      tell(ends.receive, { kind: 'receive', argv: receiveArgv(job), identity: identities.b, peerHostId: 'a', port })
      await done
      run('sync', '-f', job.into)
      return { ms: performance.now() - startedAt, bytes: 0, cpuSeconds: 0 }
    },
    close: () => {
      for (const child of [ends.send, ends.receive]) child.kill('SIGKILL')
    },
  }
}
