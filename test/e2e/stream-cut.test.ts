import { afterEach, expect, it } from 'vitest'
import { sleep, until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { clearHosts, goesOn, inVolume, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** A stream whose link is cut under it goes on where it was: same commands, same processes, and the move ends well. */
const shared = useLab('cut', { poolBytes: 2 ** 30 })
afterEach(async () => {
  await shared.host2.heal()
  await clearHosts(shared)
})

const mib = 2 ** 20

interface Round {
  readonly bytes: number
  readonly resentBytes: number
  readonly reconnects: number
}
interface MoveJson {
  readonly id: string
  readonly state: string
  readonly phase: string
  readonly rounds: readonly Round[]
  readonly progress: { readonly round: number; readonly bytes: number } | null
}

const moveOf = async (id: string): Promise<MoveJson> =>
  JSON.parse(await shared.host1.vol('--json', 'move-status', id)) as MoveJson

const ends = (id: string): Promise<MoveJson> =>
  until('the move', async () => {
    const move = await moveOf(id)
    return ['done', 'aborted'].includes(move.state) ? move : null
  })

/** `btrfs send` or `btrfs receive` of a host, with what started it. */
const commandOn = async (host: LabHost, verb: 'send' | 'receive'): Promise<{ pid: number; parent: number }> => {
  const { stdout } = await host.exec(['pgrep', '--exact', '--full', `btrfs ${verb} .*`])
  const pids = stdout.trim().split('\n')
  expect(pids).toHaveLength(1)
  const pid = Number(pids[0])
  const stat = (await host.exec(['cat', `/proc/${pid}/stat`])).stdout
  return { pid, parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) }
}
const both = async () => ({
  send: await commandOn(shared.host1, 'send'),
  receive: await commandOn(shared.host2, 'receive'),
})

/** Hangs up the stream's connection at both ends, as a firewall that forgot it. */
const reset = () => shared.host1.exec(['ss', '--kill', '--tcp', 'dport', '=', ':7461'])

const underWay = (id: string, round: number, bytes: number) =>
  until(`round ${round} under way`, async () => {
    const move = await moveOf(id)
    if (move.state !== 'open') throw new Error(`the move is ${move.state}, ${move.phase}`)
    return move.progress?.round === round && move.progress.bytes > bytes ? move : null
  })

it('goes on after resets and after a cut of a while, in precopy and in delta', async () => {
  const { host1, host2 } = shared
  await inVolume(host1, 'large', 'dd if=/dev/urandom of=/d/file bs=1M count=32 conv=fsync 2>/dev/null')
  await startWriter(host1, 'writer', 'large')
  const { id } = JSON.parse(
    await host1.vol('--json', 'move', 'large', '--to', 'host2', '--bwlimit', '3M', '--detach'),
  ) as MoveJson
  await underWay(id, 1, mib)
  // So much that another round would not pay: it is left for delta.
  await host1.docker('exec', '-d', 'writer', 'dd', 'if=/dev/urandom', 'of=/d/more', 'bs=1M', 'count=28', 'conv=fsync')
  for (const [round, phase] of [
    [1, 'precopy'],
    [2, 'delta'],
  ] as const) {
    expect((await underWay(id, round, 3 * mib)).phase).toBe(phase)
    const before = await both()
    await reset()
    await underWay(id, round, 6 * mib)
    // What was on the way is lost: it is sent again.
    await host2.cut()
    await sleep(1_500)
    await reset()
    await host2.heal()
    await underWay(id, round, 13 * mib)
    expect(await both()).toEqual(before)
  }
  const move = await ends(id)
  expect(move).toMatchObject({ state: 'done' })
  expect(move.rounds).toHaveLength(2)
  for (const round of move.rounds) {
    expect(round.reconnects).toBeGreaterThanOrEqual(2)
    expect(round.resentBytes).toBeGreaterThan(0)
    expect(round.resentBytes).toBeLessThanOrEqual(64 * mib)
  }
  await goesOn(host2, 'writer')
  const sizes = await host2.docker('exec', 'writer', 'sh', '-c', 'wc -c </d/file; wc -c </d/more')
  expect(sizes.split(/\s+/)).toEqual([String(32 * mib), String(28 * mib)])
})
