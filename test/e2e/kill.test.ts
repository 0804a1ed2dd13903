import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { phases } from '../../src/domain/move.ts'
import { watchPhases } from '../support/phase-watch.ts'

/**
 * kill -9 of each vold at each phase, and a start again: the move finishes or is undone by itself, exactly one host owns and runs the
 * writer, no acknowledged line is missing, nothing is left behind.
 */
describe('vold is killed in the middle of a move', () => {
  let lab: Lab
  const host = (name: string) => lab.host(name)

  // The writer appends a number and syncs it, then acknowledges it on its stdout, which the engine logs elsewhere.
  const writer = [
    'trap "exit 0" TERM; n=$(tail -n 1 /data/log 2>/dev/null || echo 0); [ "$n" ] || n=0',
    'while :; do n=$((n+1)); echo $n >> /data/log && sync /data/log && echo $n > /acks/$(hostname)-last; sleep 0.02 & wait $!; done',
  ].join('; ')

  beforeAll(async () => {
    lab = await Lab.up({ name: 'kill', hosts: 3, subnet: '10.78.1', poolBytes: 2 * 2 ** 30, images: ['busybox'] })
    for (const each of lab.hosts) await each.exec(['mkdir', '-p', '/srv/acks'])
    await host('host2').docker(
      'run',
      '-d',
      '--name',
      'writer',
      '--hostname',
      'w',
      '--restart',
      'always',
      '-v',
      'db:/data',
      '-v',
      '/srv/acks:/acks',
      '--volume-driver',
      'drover',
      'busybox',
      'sh',
      '-c',
      writer,
    )
  }, 180_000)

  afterAll(async () => {
    await lab?.down()
  }, 60_000)

  interface Inspected {
    owner: string
    partials: unknown[]
    snapshots: { name: string }[]
    replicas: { role: string }[]
    move: unknown
    unreachable: string[]
  }
  const inspect = async (): Promise<Inspected> => JSON.parse(await host('host1').vol('--json', 'inspect', 'db'))

  const ended = async (): Promise<Inspected> => {
    for (let tries = 0; tries < 300; tries += 1) {
      const answer = await host('host1').tryVol('--json', 'inspect', 'db')
      if (answer.exitCode === 0) {
        const detail: Inspected = JSON.parse(answer.stdout)
        const settled = detail.replicas.every(({ role }) => role === 'replica') && detail.partials.length === 0
        if (detail.move === null && detail.unreachable.length === 0 && settled) return detail
      }
      await sleep(200)
    }
    throw new Error(`the move did not end: ${JSON.stringify(await inspect())}`)
  }

  const runsOn = async (): Promise<string[]> => {
    const found: string[] = []
    for (const each of lab.hosts) {
      const names = (await each.docker('ps', '--filter', 'status=running', '--format', '{{.Names}}')).split('\n')
      if (names.includes('writer')) found.push(each.name)
    }
    return found
  }

  const acknowledged = async (): Promise<number> => {
    const all = await Promise.all(
      lab.hosts.map(async (each) => Number((await each.tryExec(['cat', '/srv/acks/w-last'])).stdout.trim() || '0')),
    )
    return Math.max(...all)
  }

  const check = async (): Promise<void> => {
    const before = await acknowledged()
    const detail = await ended()
    for (let tries = 0; tries < 100 && (await runsOn()).length !== 1; tries += 1) await sleep(200)
    expect(await runsOn()).toEqual([detail.owner])
    const owner: LabHost = host(detail.owner)
    const lines = (await owner.docker('exec', 'writer', 'cat', '/data/log')).split('\n').map(Number)
    expect(lines).toEqual(lines.map((_, index) => index + 1))
    expect(lines.length).toBeGreaterThanOrEqual(before)
    for (const each of lab.hosts) {
      const names = (await each.docker('ps', '-a', '--format', '{{.Names}}'))
        .split('\n')
        .filter((name) => name.startsWith('writer'))
      expect(names).toEqual(each === owner ? ['writer'] : [])
    }
    expect(detail.snapshots.length).toBeLessThanOrEqual(2 * lab.hosts.length)
    expect(await owner.docker('inspect', '--format', '{{.HostConfig.RestartPolicy.Name}}', 'writer')).toBe('always')
  }

  for (const role of ['source', 'target', 'control'] as const) {
    for (const phase of phases) {
      it(`${role} at ${phase}`, async () => {
        const { owner } = await ended()
        const target = owner === 'host2' ? 'host3' : 'host2'
        const victim = host(role === 'control' ? 'host1' : role === 'source' ? owner : target)
        let killed: Promise<void> | null = null
        const watch = await watchPhases(host('host1'), (entered) => {
          if (entered === phase) killed ??= victim.killVold()
        })
        const quiesce = phases.indexOf(phase) % 2 === 0 ? 'stop' : 'pause'
        const started = await host('host1').tryVol('move', 'db', '--to', target, '--quiesce', quiesce, '--detach')
        // A control role that dies while it answers is unreachable; the move it journaled goes on all the same.
        expect(role === 'control' ? [0, 5] : [0], started.stderr).toContain(started.exitCode)
        for (let tries = 0; tries < 600 && killed === null; tries += 1) await sleep(50)
        await watch.stop()
        await killed
        await sleep(300)
        if (killed !== null) await victim.startVold()
        expect(killed, `phase ${phase} was reached: ${await host('host1').vol('--json', 'moves')}`).not.toBeNull()
        await check()
      }, 120_000)
    }
  }
})
