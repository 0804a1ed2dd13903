import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import { clearHosts, goesOn, lastNumber, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'
import { watchPhases } from '../support/phase-watch.ts'

/** The control role dies in the middle of a move and stays away: source and target settle it alone. */
const shared = useLab('nocontrol', { hosts: 3, poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

for (const phase of ['delta', 'release', 'commit'] as const) {
  it(`control gone at ${phase}: one of the two writes again, and control follows when it is back`, async () => {
    const { host1: control, host2: source } = shared
    const target = shared.host('host3')
    await startWriter(source, 'writer', 'db', '--restart', 'always')
    let killed: Promise<void> | null = null
    const watch = await watchPhases(control, (entered) => {
      if (entered === phase) killed ??= control.killVold()
    })
    await control.vol('move', 'db', '--to', 'host3', '--detach')
    await until('the phase', () => (killed === null ? null : true))
    await killed
    await watch.stop()
    const running = async () => {
      const found = []
      for (const host of [source, target]) {
        const names = await host.docker('ps', '--filter', 'status=running', '--format', '{{.Names}}')
        if (names.split('\n').includes('writer')) found.push(host)
      }
      return found
    }
    const [alone] = await until('a writer', async () => ((await running()).length > 0 ? running() : null), {
      timeoutMs: 60_000,
    })
    expect(alone).toBeDefined()
    if (alone === undefined) return
    const before = await goesOn(alone, 'writer')
    expect(await running()).toEqual([alone])
    await control.startVold()
    await until('the end of the move', async () => {
      const answer = await control.tryVol('--json', 'inspect', 'db')
      if (answer.exitCode !== 0) return null
      const { move, owner, partials } = JSON.parse(answer.stdout)
      return move === null && partials.length === 0 && owner === alone.name ? true : null
    })
    await sleep(1_000)
    expect(await running()).toEqual([alone])
    expect(await lastNumber(alone, 'writer')).toBeGreaterThanOrEqual(before)
    const log = (await alone.docker('exec', 'writer', 'cat', '/d/log')).split('\n').map(Number)
    expect(log).toEqual(log.map((_, index) => index + 1))
    for (const host of [source, target]) {
      const names = (await host.docker('ps', '--all', '--format', '{{.Names}}')).split('\n').filter(Boolean)
      expect(names).toEqual(host === alone ? ['writer'] : [])
    }
  }, 180_000)
}
