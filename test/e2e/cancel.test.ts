import { statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { sleep, until } from '../../lab/command.ts'
import { clearHosts, goesOn, inspect, lastNumber, mountpointOf } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'
import { watchPhases } from '../support/phase-watch.ts'
import { overUnix } from '../support/unix-http.ts'

/** A writer is put back at once, whatever the move waits for: by a cancel, or because the downtime allowed cannot be kept. */
const shared = useLab('cancel', { poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

const write = 'n=$((n+1)); echo $n >>/d/log; sync /d/log; sleep 0.02'
const counting = 'n=$(grep -c . /d/log 2>/dev/null)'
/** Does not end when it is told to: the engine kills it after its stop timeout. */
const stubborn = `trap "" TERM; ${counting}; while :; do ${write}; done`
/** Writes 16 MiB more when it is told to end. */
const hoarding = `trap "dd if=/dev/urandom of=/d/late bs=1M count=16 2>/dev/null; sync; exit 0" TERM; ${counting}; while :; do ${write}; done`

const start = async (script: string, ...flags: string[]): Promise<void> => {
  const mount = ['--volume', 'kept:/d', '--volume-driver', 'drover']
  await shared.host1.docker('run', '--detach', '--name', 'writer', ...mount, ...flags, 'busybox', 'sh', '-c', script)
  await goesOn(shared.host1, 'writer')
}

const startedAt = (): Promise<string> => shared.host1.docker('inspect', '--format', '{{.State.StartedAt}}', 'writer')

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

interface Move {
  readonly id: string
  readonly state: string
  readonly downtimeMs: number | null
  readonly forecastDowntimeMs: number | null
  readonly phaseTimes: readonly { phase: string; ms: number }[]
  readonly warnings: readonly string[]
  readonly error: { code: string; message: string } | null
}

const ended = (id: string): Promise<Move> =>
  until('the move to end', async () => {
    const move: Move = JSON.parse(await shared.host1.vol('--json', 'move-status', id))
    return ['done', 'aborted'].includes(move.state) ? move : null
  })

const latest = async (): Promise<Move> => {
  const [move] = JSON.parse(await shared.host1.vol('--json', 'moves', '--volume', 'kept'))
  return move
}

/** Everything acknowledged is there, in its order and once. */
const wholeUpTo = async (number: number): Promise<void> => {
  const log = (await shared.host1.docker('exec', 'writer', 'cat', '/d/log')).split('\n').map(Number)
  expect(log.slice(0, number)).toEqual(Array.from({ length: number }, (_, index) => index + 1))
}

const nothingLeft = async (): Promise<void> => {
  await until('the target to have nothing left', async () => {
    const left = await inspect(shared.host1, 'kept')
    const containers = await shared.host2.docker('ps', '--all', '--quiet')
    const clean = JSON.stringify([left.replicas, left.partials, left.snapshots]) === '[[],[],[]]' && containers === ''
    return clean && left.owner === 'host1' ? true : null
  })
}

describe('vol cancel', () => {
  const cases: [string, string, string[], number][] = [
    // The engine would wait a minute for its end.
    ['quiesce', stubborn, [], 500],
    ['delta', hoarding, ['--bwlimit', '2M'], 500],
  ]
  it.each(cases)('in %s: the writer writes on', async (phase, script, flags, waitMs) => {
    const { host1 } = shared
    await host1.vol('create', 'kept')
    await start(script, '--stop-timeout', '60')
    const log = join(host1.path(await mountpointOf(host1, 'kept')), 'log')
    const reached = Promise.withResolvers<void>()
    const watch = await watchPhases(host1, (entered) => entered === phase && reached.resolve())
    try {
      const id = await host1.vol('move', 'kept', '--to', 'host2', '--detach', ...flags)
      await reached.promise
      await sleep(waitMs)
      const acknowledged = await lastNumber(host1, 'writer').catch(() => 0)
      const started = await startedAt()
      const decidedAt = performance.now()
      const before = sizeOf(log)
      await overUnix(host1.path('/run/drover/vold.sock'), `/v1/moves/${id}`, { method: 'DELETE' })
      // Told to stop, it has not ended: only what it writes after a new start counts.
      const again = async () => phase !== 'quiesce' || (await startedAt()) !== started
      await until('the writer to write', async () => ((await again()) && sizeOf(log) > before ? true : null), {
        intervalMs: 10,
      })
      console.log(`cancelled in ${phase}: the writer wrote again after ${Math.round(performance.now() - decidedAt)} ms`)
      expect(await ended(id)).toMatchObject({ state: 'aborted', error: { code: 'MOVE_CANCELLED' } })
      await goesOn(host1, 'writer')
      await wholeUpTo(acknowledged)
      await nothingLeft()
    } finally {
      await watch.stop()
    }
  })
})

describe('--max-downtime', () => {
  it('ends a move whose writers do not stop in time, and they go on', async () => {
    await start(stubborn, '--stop-timeout', '60')
    const refused = await shared.host1.tryVol('move', 'kept', '--to', 'host2', '--max-downtime', '2500ms')
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
    expect(refused.stderr).toMatch(/\nvol: DOWNTIME_EXCEEDED: .*stopped its writers for \d+ ms.*2500 ms are allowed/)
    await goesOn(shared.host1, 'writer')
    await nothingLeft()
  })

  it('ends a move that has more left than it had told, and --keep-going does it all the same', async () => {
    await start(hoarding, '--stop-timeout', '60')
    const flags = ['--max-downtime', '4s', '--bwlimit', '2M']
    const refused = await shared.host1.tryVol('move', 'kept', '--to', 'host2', ...flags)
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
    expect(refused.stderr).toMatch(/\nvol: DOWNTIME_EXCEEDED: .*would need about \d+ ms more, 4000 ms are allowed/)
    expect((await latest()).forecastDowntimeMs).toBeLessThan(4_000)
    await goesOn(shared.host1, 'writer')
    await nothingLeft()

    await shared.host1.vol('move', 'kept', '--to', 'host2', ...flags, '--keep-going')
    const move = await latest()
    expect(move).toMatchObject({ state: 'done', error: null })
    expect(move.downtimeMs).toBeGreaterThan(4_000)
    expect(move.warnings).toEqual([expect.stringMatching(/stopped for \d+ ms, 4000 ms were allowed; .*--keep-going/)])
    expect(move.phaseTimes.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(['plan', 'precopy', 'quiesce', 'delta', 'verify', 'release', 'commit', 'activate']),
    )
    await goesOn(shared.host2, 'writer')
  })
})
