import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import type { Argv } from '../src/backends/backend.ts'
import { BtrfsCommand } from '../src/backends/btrfs/btrfs-command.ts'
import { sendArgv, streamVersion } from '../src/backends/btrfs/stream-version.ts'
import { createExec } from '../src/lib/exec.ts'
import { silentLogger } from '../src/lib/logger.ts'
import { freePort, type TestHost } from '../test/unit/transfer/hosts.ts'
import { run } from './transfer-pools.ts'

/** What is sent and where to; `parent` makes it incremental. */
export interface Job {
  readonly snapshot: string
  readonly parent: string | null
  readonly into: string
}

export interface Sample {
  readonly ms: number
  readonly bytes: number
  /** User and system time of all processes at both ends, seconds. */
  readonly cpuSeconds: number
}

/** `before` is the first thing inside the measured time: an incremental run takes its snapshot there. */
export type Method = (job: Job, before?: () => void) => Promise<Sample>

const ticksPerSecond = 100

/** CPU of this process, of its descendants that live, and of all that one of them has waited for. */
const cpuSeconds = (): number => {
  const processes = new Map<number, { parent: number; ticks: number }>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1').split(') ').at(-1)?.split(' ') ?? []
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
      processes.set(Number(name), { parent: Number(fields[1]), ticks })
    } catch {
      // It has ended.
    }
  }
  const ours = (pid: number): boolean => pid === process.pid || (pid > 1 && ours(processes.get(pid)?.parent ?? 0))
  let ticks = 0
  for (const [pid, one] of processes) if (ours(pid)) ticks += one.ticks
  return ticks / ticksPerSecond
}

export const receiveArgv = (job: Job): Argv => ['btrfs', 'receive', '-q', '-e', job.into]

/** What a pool of this machine asks for of another one like it. */
const version = await streamVersion(new BtrfsCommand(createExec(silentLogger)))
export const sendArgvOf = (job: Job): Argv => sendArgv(job.snapshot, job.parent, version)

const shell = (script: string, ...args: string[]) =>
  spawn('sh', ['-c', script, 'sh', ...args], { stdio: ['ignore', 'ignore', 'inherit'] })

const ended = async (child: ReturnType<typeof spawn>, what: string): Promise<void> => {
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${what} ended with ${code}`)
}

const listens = (port: number): boolean => {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  return readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .some((line) => line.includes(hex) && line.includes(' 0A '))
}

/** The honest floor: `btrfs send | socat` to `socat | btrfs receive` over plain TCP, then a sync of the target. */
export const socatFloor: Method = async (job, before) => {
  const port = String(await freePort())
  const cpuBefore = cpuSeconds()
  const receive = shell(
    'port=$1; shift; socat -b 1048576 TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr - | "$@"',
    port,
    ...receiveArgv(job),
  )
  const received = ended(receive, 'receive')
  while (!listens(Number(port))) await new Promise((resolve) => setTimeout(resolve, 2))
  const startedAt = performance.now()
  before?.()
  const send = shell(
    'port=$1; shift; "$@" | socat -b 1048576 - TCP:127.0.0.1:$port',
    port,
    ...sendArgv(job.snapshot, job.parent, 1),
  )
  await Promise.all([received, ended(send, 'send')])
  run('sync', '-f', job.into)
  return { ms: performance.now() - startedAt, bytes: 0, cpuSeconds: cpuSeconds() - cpuBefore }
}

let sequence = 0

/** Drover's transfer service, two hosts of it in this process, each transfer in a process of its own at each end. */
export const droverTransfer =
  (source: TestHost, target: TestHost, plain: boolean): Method =>
  async (job, before) => {
    sequence += 1
    const ticket = plain ? { ticket: randomBytes(24).toString('hex') } : {}
    const common = { sessionId: `bench-${sequence}`, plain, ...ticket }
    const cpuBefore = cpuSeconds()
    const startedAt = performance.now()
    before?.()
    const received = await target.service.receive({
      ...common,
      argv: receiveArgv(job),
      landing: job.into,
      peerHostId: 'a',
    })
    const sent = await source.service.send({
      ...common,
      argv: sendArgvOf(job),
      peerHostId: 'b',
      address: target.address,
      bwlimitBytes: null,
    })
    const [, result] = await Promise.all([sent.done, received.done])
    run('sync', '-f', job.into)
    const ms = performance.now() - startedAt
    // What a process does after it has told its result counts too.
    await new Promise((resolve) => setTimeout(resolve, 300))
    return { ms, bytes: result.bytes, cpuSeconds: cpuSeconds() - cpuBefore }
  }
