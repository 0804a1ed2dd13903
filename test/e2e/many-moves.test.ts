import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { overUnix } from '../support/unix-http.ts'

interface MoveJson {
  readonly id: string
  readonly volumeName: string
  readonly to: string
  readonly state: string
  readonly queuedBehind: number | null
  readonly error: { readonly code: string } | null
}

const limit = 2
const count = 20

/** Twenty volumes, from each of three hosts to each of the others, all at once, two at a time on a host. */
describe('many moves at once', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await Lab.up({ name: 'many', hosts: 3, subnet: '10.78.6', poolBytes: 2 * 2 ** 30, images: ['busybox'] })
    const { host1 } = lab
    const config = '/run/drover/vold.toml'
    await host1.stopVold()
    await host1.exec(['sh', '-c', `echo 'moves_per_host = ${limit}' > ${config}`])
    const flags = host1.vold.lastArgv?.slice(1) ?? []
    await host1.startVold(flags.map((flag, index) => (flags[index - 1] === '--config' ? config : flag)))
  }, 180_000)
  afterAll(async () => {
    await lab?.down()
  }, 60_000)

  const hostOf = (index: number): LabHost => lab.host(`host${(index % 3) + 1}`)
  const names = Array.from({ length: count }, (_, index) => `v${index}`)
  const fromOf = (index: number) => hostOf(index)
  const toOf = (index: number) => hostOf(index + 1 + (Math.floor(index / 3) % 2))
  const ask = async (method: string, path: string, body?: object) => {
    const socket = lab.host1.path('/run/drover/vold.sock')
    const headers = { 'content-type': 'application/json' }
    const answer = await overUnix(socket, path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return JSON.parse(answer.text)
  }
  const moves = async (): Promise<MoveJson[]> => (await ask('GET', '/v1/moves?limit=1000')).items
  const start = async (index: number): Promise<string> =>
    (await ask('POST', `/v1/volumes/v${index}/moves`, { to: toOf(index).name, bwlimitBytes: 2 * 2 ** 20 })).id

  const sums = async (host: LabHost, volumes: readonly string[]): Promise<string[]> => {
    const mounts = volumes.flatMap((name) => ['-v', `${name}:/v/${name}`])
    const shell = ['--volume-driver', 'drover', 'busybox', 'sh', '-c', 'cd /v && sha256sum */data']
    return volumes.length === 0 ? [] : (await host.docker('run', '--rm', ...mounts, ...shell)).split('\n')
  }

  it('all end well, with every byte, and none waits for ever', async () => {
    for (const host of lab.hosts) {
      const own = names.filter((_, index) => fromOf(index) === host)
      const mounts = own.flatMap((name) => ['-v', `${name}:/v/${name}`])
      const fill = 'for d in /v/*; do dd if=/dev/urandom of=$d/data bs=1M count=4 2>/dev/null; done; sync'
      await host.docker('run', '--rm', ...mounts, '--volume-driver', 'drover', 'busybox', 'sh', '-c', fill)
    }
    const before = await Promise.all(
      lab.hosts.map((host) =>
        sums(
          host,
          names.filter((_, index) => fromOf(index) === host),
        ),
      ),
    )

    const queued = new Set<string>()
    // As fast as they can be asked for, and the last one when those before it wait.
    const started = await Promise.all(names.slice(0, -1).map((_, index) => start(index)))
    const waits = await start(count - 1)
    // One that waits is told as such, and can be given up while it waits.
    expect(await lab.host1.vol('moves')).toMatch(/\bqueued\b/)
    await lab.host1.vol('cancel', waits)
    expect((await ask('GET', `/v1/moves/${waits}`)).rounds).toEqual([])
    const again = await until('the waiting move to be given up', async () => {
      const { error } = await ask('GET', `/v1/moves/${waits}`)
      return error?.code === 'MOVE_CANCELLED' ? start(count - 1) : null
    })
    // Those that wait still do when the control role was gone for a moment.
    await lab.host1.killVold()
    await lab.host1.startVold()

    await until(
      'all moves to end',
      async () => {
        const all = await moves()
        const shipping = all.filter(
          ({ state, queuedBehind }) => ['open', 'verified'].includes(state) && queuedBehind === null,
        )
        for (const move of all) if (move.queuedBehind !== null) queued.add(move.id)
        expect(shipping.length).toBeLessThanOrEqual((3 * limit) / 2 + 1)
        return all.every(({ state }) => ['done', 'aborted'].includes(state)) ? true : null
      },
      { timeoutMs: 90_000, intervalMs: 100 },
    )
    const all = await moves()
    const wanted = [...started, again]
    expect(all.filter(({ id, state }) => wanted.includes(id) && state !== 'done')).toEqual([])
    expect(queued.size).toBeGreaterThanOrEqual(count - 6)
    const after = await Promise.all(
      lab.hosts.map((host) =>
        sums(
          host,
          names.filter((_, index) => toOf(index) === host),
        ),
      ),
    )
    expect(after.flat().toSorted()).toEqual(before.flat().toSorted())
    expect(after.flat().length).toBe(count)
    for (const host of lab.hosts) {
      expect((await host.exec(['find', '/var/lib/drover/moves', '-type', 'f'])).stdout).toBe('')
    }
  }, 180_000)
})
