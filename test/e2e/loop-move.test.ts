import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter } from '../support/e2e.ts'
import { overUnix } from '../support/unix-http.ts'
import { kill, processesOf } from '../torture/processes.ts'

interface MoveJson {
  readonly id: string
  readonly state: string
  readonly progress: { readonly round: number; readonly bytes: number } | null
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
  readonly error: { readonly code: string } | null
}

const mib = 2 ** 20

let lab: Lab
beforeAll(async () => {
  lab = await Lab.up({ name: 'loop-move', subnet: '10.78.41', poolBytes: 2 ** 31, poolKind: 'loop' })
}, 180_000)
afterAll(() => lab?.down(), 60_000)

const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

const sumOf = (host: LabHost, volume: string) =>
  inVolume(host, volume, 'cd /d && find . ! -name log -type f | sort | xargs sha256sum | sha256sum')

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

/** Loop devices of volumes; those of the pools' own images are the lab's. */
const volumeLoops = async (host: LabHost): Promise<string[]> => {
  const { stdout } = await host.exec(['losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-FILE'])
  return stdout.split('\n').filter((path) => path.includes('/devices/'))
}

it('goes from file to file, and back with what changed, under a writer; stopped and paused', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'db', `dd if=/dev/urandom of=/d/big bs=1M count=64 && ln /d/big /d/link && chmod 4755 /d/big`)
  const sum = await sumOf(host1, 'db')
  await startWriter(host1, 'writer', 'db')
  const there = await move('db', host2)
  expect(there).toMatchObject({ state: 'done', error: null })
  expect(there.totalBytes).toBeGreaterThan(64 * mib)
  expect(there.totalBytes).toBeLessThan(96 * mib)
  expect(there.rounds[0]?.base).toBeNull()
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await host2.docker('exec', 'writer', 'stat', '-c', '%a %h', '/d/big')).toBe('4755 2')
  expect(await host2.docker('exec', 'writer', 'ls', '/d')).not.toContain('lost+found')

  await host2.docker('exec', 'writer', 'dd', 'if=/dev/urandom', 'of=/d/new', 'bs=1M', 'count=1')
  const back = await move('db', host1, '--quiesce', 'pause')
  expect(back.state).toBe('done')
  expect(back.rounds.every(({ base }) => base !== null)).toBe(true)
  expect(back.totalBytes).toBeLessThan(8 * mib)
  await goesOn(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  expect(await inVolume(host1, 'db', 'rm /d/new; sha256sum /d/big | cut -c1-8; ls /d')).toMatch(/^[0-9a-f]{8}\n/)
  expect(await sumOf(host1, 'db')).toBe(sum)
  await host1.vol('rm', 'db')
  expect(await volumeLoops(host1)).toEqual([])
}, 180_000)

const moveOf = async (id: string): Promise<MoveJson> =>
  JSON.parse((await overUnix(lab.host1.path('/run/drover/vold.sock'), `/v1/moves/${id}`)).text)

/** Bytes that have come to the host over its link, headers and all. */
const receivedBytes = async (host: LabHost): Promise<number> =>
  Number(/eth0:\s*(\d+)/.exec((await host.exec(['cat', '/proc/net/dev'])).stdout)?.[1])

/** What writes or reads a stream of blocks. */
const isCommand = ({ command }: { command: string }): boolean => /\bblock\/stream\/main\.[jt]s\b/.test(command)

/** The processes that carry a stream on this host, or are kept for one, and its command. */
const streamProcesses = (host: LabHost) =>
  processesOf(host).filter((each) => isCommand(each) || /\btransfer\/process-main\.[jt]s\b/.test(each.command))

it('goes on with the rest after all processes of its stream were killed at 90%: at most 12% goes over the link again', async () => {
  const { host1, host2 } = lab
  const fileBytes = 64 * mib
  await host1.vol('create', 'cut', '--size', '200M')
  await inVolume(host1, 'cut', 'dd if=/dev/urandom of=/d/big bs=1M count=64 conv=fsync 2>/dev/null')
  const sum = await sumOf(host1, 'cut')
  const before = await receivedBytes(host2)
  const flags = ['--to', 'host2', '--bwlimit', '8M', '--detach']
  const { id } = JSON.parse(await host1.vol('--json', 'move', 'cut', ...flags)) as MoveJson
  await until('nine tenths of the stream', async () => {
    const { state, progress } = await moveOf(id)
    if (state !== 'open') throw new Error(`the move is ${state}`)
    return progress !== null && progress.bytes > 0.9 * fileBytes ? true : null
  })
  const [there, here] = [streamProcesses(host2), streamProcesses(host1)]
  for (const { pid } of [...there, ...here]) kill(pid)
  expect(there.filter(isCommand)).toHaveLength(1)
  // What the sender's command wrote may all be in memory by then.
  expect(here.length).toBeGreaterThanOrEqual(1)
  const moved = await until('the move', async () => {
    const move = await moveOf(id)
    return ['done', 'aborted'].includes(move.state) ? move : null
  })
  expect(moved).toMatchObject({ state: 'done', error: null })
  expect(await host1.vol('events')).toContain('move.stream-again')
  const again = (await receivedBytes(host2)) - before - fileBytes
  expect(again).toBeGreaterThan(0)
  expect(again).toBeLessThan(0.12 * fileBytes)
  expect(moved.rounds[0]?.bytes).toBeLessThan(1.12 * fileBytes)
  expect(await sumOf(host2, 'cut')).toBe(sum)
  await host1.vol('rm', 'cut')
}, 180_000)
