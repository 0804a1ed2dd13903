import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { sleep, until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import {
  clearHosts,
  goesOn,
  inspect,
  inVolume,
  lastNumber,
  mountpointOf,
  startWriter,
  volumeMounts,
} from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** The volume plugin when vold or the engine ends in the middle: truth from mounts, not from counts. */
const shared = useLab('crash', { hosts: 1, poolBytes: 3 * 2 ** 30 })
afterEach(async () => {
  const { host1 } = shared
  if (host1.engine.process === null) await host1.startEngine()
  if (host1.vold.process === null) await host1.startVold()
  await clearHosts(shared)
})

const pluginSocket = '/run/docker/plugins/drover.sock'

/** Whether the writer's numbers follow each other from 1 on: every line that it ever wrote is there, once. */
const unbroken = async (host: LabHost, volume: string): Promise<boolean> => {
  const numbers = (await inVolume(host, volume, 'cat /d/log')).split('\n').map(Number)
  return numbers.every((number, index) => number === index + 1)
}

const answersOn = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

describe('vold ends while containers run', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s: they write on, mounts stay, and it takes up again',
    async (signal) => {
      const { host1 } = shared
      await startWriter(host1, 'runs', 'lives')
      const mounts = await volumeMounts(host1)
      const mountpoint = await mountpointOf(host1, 'lives')

      await host1.vold.stop(signal)
      // A clean end takes its socket away; a killed one leaves a stale one, which the next replaces.
      expect(existsSync(host1.path(pluginSocket))).toBe(signal === 'SIGKILL')
      expect(await answersOn(host1.path(pluginSocket))).toBe(false)
      await goesOn(host1, 'runs')
      expect(await volumeMounts(host1)).toEqual(mounts)

      await host1.startVold()
      expect(await answersOn(host1.path(pluginSocket))).toBe(true)
      expect(await volumeMounts(host1)).toEqual(mounts)
      expect(await mountpointOf(host1, 'lives')).toBe(mountpoint)
      await goesOn(host1, 'runs')
      // The container still counts as its user, although no Mount of it was ever seen.
      expect((await host1.tryVol('rm', 'lives', '--force')).exitCode).toBe(4)
      expect(await inVolume(host1, 'lives', 'tail -n 1 /d/log')).not.toBe('')
      expect(await volumeMounts(host1)).toEqual(mounts)
      await host1.docker('restart', '--time', '5', 'runs')
      await goesOn(host1, 'runs')

      await host1.docker('rm', '--force', 'runs')
      expect(await unbroken(host1, 'lives')).toBe(true)
      expect(await volumeMounts(host1)).toEqual([])
      await host1.docker('volume', 'rm', 'lives')
    },
  )

  it('between stop and start a container may end: the volume is let go all the same', async () => {
    const { host1 } = shared
    await startWriter(host1, 'ends', 'left')
    await host1.stopVold()
    await host1.docker('kill', 'ends')
    await host1.startVold()
    await host1.docker('rm', 'ends')
    await host1.docker('volume', 'rm', 'left')
    expect(await volumeMounts(host1)).toEqual([])
    expect(await host1.vol('--json', 'ls')).toBe('[]')
  })
})

describe('the engine is killed', () => {
  it('a container that restarts always writes on, and counts do not leak', async () => {
    const { host1 } = shared
    await startWriter(host1, 'returns', 'again', '--restart', 'always')
    await startWriter(host1, 'stays-down', 'once')
    const before = await lastNumber(host1, 'returns')
    for (let round = 0; round < 2; round += 1) {
      await host1.engine.stop('SIGKILL')
      await host1.startEngine()
      await until('the container to come back', async () =>
        (await host1.docker('inspect', '--format', '{{.State.Running}}', 'returns')) === 'true' ? true : null,
      )
      expect(await goesOn(host1, 'returns')).toBeGreaterThan(before)
    }
    await host1.docker('rm', '--force', 'returns', 'stays-down')
    expect(await unbroken(host1, 'again')).toBe(true)
    await host1.docker('volume', 'rm', 'again', 'once')
    expect(await volumeMounts(host1)).toEqual([])
    expect(await host1.vol('--json', 'ls')).toBe('[]')
  })
})

describe('removing a volume of 20,000 files', () => {
  const trash = async (host: LabHost) =>
    (
      await host.exec(['find', '/srv/pool/trash', '/srv/pool/volumes', '-mindepth', '1', '-maxdepth', '1'])
    ).stdout.trim()

  const fill = (host: LabHost) =>
    inVolume(host, 'many', 'cd /d; i=0; while [ $i -lt 20000 ]; do echo $i >f$i; i=$((i+1)); done; ls | wc -l')

  it('leaves nothing behind, and its name is free at once', async () => {
    const { host1 } = shared
    expect(await fill(host1)).toBe('20000')
    await host1.docker('volume', 'rm', 'many')
    expect(await host1.docker('volume', 'ls', '--quiet')).toBe('')
    expect(await inVolume(host1, 'many', 'ls -A /d | wc -l')).toBe('0')
    await host1.docker('volume', 'rm', 'many')
    await until('the trash to be empty', async () => ((await trash(host1)) === '' ? true : null))
  })

  it.each([0, 40, 80, 120, 180, 250])('is taken up again when vold is killed %i ms into it', async (ms) => {
    const { host1 } = shared
    expect(await fill(host1)).toBe('20000')
    const { id } = await inspect(host1, 'many')
    const removing = host1.tryVol('rm', 'many')
    // vol itself takes a while to start.
    await sleep(200 + ms)
    await host1.killVold()
    const answer = await removing
    await host1.startVold()
    const rows: { name: string; state: string }[] = JSON.parse(await host1.vol('--json', 'ls'))
    if (answer.exitCode === 0) expect(rows).toEqual([])
    // Still there: then whole, or marked for removal; never a husk that can be mounted.
    if (rows[0]?.state === 'ready') expect(await inVolume(host1, 'many', 'ls /d | wc -l')).toBe('20000')
    if (rows.length > 0) await host1.vol('rm', 'many')
    expect(await host1.vol('--json', 'ls')).toBe('[]')
    await until('the trash to be empty', async () => ((await trash(host1)) === '' ? true : null))
    expect((await host1.exec(['btrfs', 'subvolume', 'list', '/srv/pool'])).stdout).not.toContain(String(id))
  })
})
