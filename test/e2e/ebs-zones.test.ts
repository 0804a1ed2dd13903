import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter, volumeMounts } from '../support/e2e.ts'
import { awaitLeftOn, type LabEc2, startLabEc2 } from '../support/lab-ec2.ts'
import { watchPhases } from '../support/phase-watch.ts'

/* Two Docker hosts as instances in two zones of one region: a container and its volume go from one to the other by snapshots. */

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly unknown[]
  readonly error: { readonly code: string } | null
}

const pool = 'ebs:?size=1'
/** So many times each volume goes there and back; for figures, more: `DROVER_ZONE_MOVES=5`. */
const times = Number(process.env.DROVER_ZONE_MOVES ?? 1)
let lab: Lab
let ec2: LabEc2
beforeAll(async () => {
  lab = await Lab.up({ name: 'ebs-zones', subnet: '10.78.45', vold: false })
  ec2 = await startLabEc2(lab, 'zones')
  for (const host of lab.hosts) await ec2.startVold(host, pool)
  await lab.makeCluster()
}, 180_000)
afterAll(async () => {
  await lab?.down()
  await ec2?.dispose()
}, 60_000)

const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

const awaitLeft = (zones: readonly string[], snapshots: number) => awaitLeftOn(ec2, zones, snapshots)

test(
  'to another zone and back, a volume of 1 GiB and one of 8, by turns',
  async () => {
    const { host1, host2 } = lab
    const all = ['1G', '8G'].map((size) => ({
      size,
      name: `db-${size}`,
      writer: `writer-${size}`,
      stopped: [] as number[],
    }))
    const sums = new Map<string, string>()
    for (const { name, size, writer } of all) {
      await host1.vol('create', name, '--size', size)
      await inVolume(host1, name, 'dd if=/dev/urandom of=/d/big bs=1M count=16')
      sums.set(name, await inVolume(host1, name, 'sha256sum /d/big'))
      await startWriter(host1, writer, name)
      const plan = JSON.parse(await host1.vol('--json', 'move', name, '--to', 'host2', '--dry-run'))
      expect(plan).toMatchObject({ strategy: 'snapshot-full' })
    }
    for (const to of Array.from({ length: times }, () => [host2, host1]).flat()) {
      for (const { name, size, stopped } of all) {
        const before = (await ec2.calls()).length
        const moved = await move(name, to)
        expect(moved).toMatchObject({ state: 'done', error: null })
        // Only names of snapshots were sent.
        expect(moved.totalBytes).toBeLessThan(4_096)
        stopped.push(moved.downtimeMs ?? Number.NaN)
        if (stopped.length > 1) continue
        const asked = (await ec2.calls()).slice(before).map(({ action }) => action)
        const counts = Object.entries(Object.groupBy(asked, (action) => action))
        console.info(`${size}: EC2 was asked ${counts.map(([action, each]) => `${each?.length} ${action}`).join(', ')}`)
        expect(await host2.docker('exec', `writer-${size}`, 'sha256sum', '/d/big')).toBe(sums.get(name))
      }
      if (to === host2) {
        expect(await volumeMounts(host1)).toEqual([])
        await awaitLeft(['eu-test-1b', 'eu-test-1b'], 2)
      }
    }
    for (const { name, size, writer, stopped } of all) {
      await goesOn(host1, writer)
      await expectWhole(host1, writer)
      await host1.docker('rm', '--force', writer)
      expect(await inVolume(host1, name, 'sha256sum /d/big')).toBe(sums.get(name))
      await host1.vol('rm', name)
      const sorted = stopped.toSorted((one, other) => one - other)
      const median = sorted[Math.floor(sorted.length / 2)]
      console.info(`${size}: writers stopped for ${stopped.join(', ')} ms, median ${median} ms`)
    }
    await awaitLeft([], 0)
  },
  300_000 * times,
)

test.each([
  ['source', 'delta'],
  ['target', 'verify'],
])(
  'the %s dies at %s: one writer, with everything; nothing is left of the move',
  async (side, phase) => {
    const { host1, host2 } = lab
    await startWriter(host1, 'writer', side)
    const victim = side === 'source' ? host1 : host2
    const reached = Promise.withResolvers<void>()
    const watch = await watchPhases(host1, (entered) => entered === phase && reached.resolve())
    await host1.vol('move', side, '--to', 'host2', '--detach')
    await reached.promise
    await victim.killVold()
    await watch.stop()
    await ec2.startVold(victim, pool)
    const owner = lab.host(
      await until(
        `volume ${side} to rest`,
        async () => {
          const { stdout, exitCode } = await host1.tryVol('--json', 'inspect', side)
          if (exitCode !== 0) return null
          const { owner, openMoveId } = JSON.parse(stdout)
          return openMoveId === null ? String(owner) : null
        },
        { timeoutMs: 120_000, intervalMs: 500 },
      ),
    )
    const running = () => owner.docker('inspect', '--format', '{{.State.Running}}', 'writer').catch(() => 'absent')
    await until('container writer to run', async () => ((await running()) === 'true' ? true : null), {
      timeoutMs: 60_000,
    })
    await goesOn(owner, 'writer')
    await expectWhole(owner, 'writer')
    expect(await volumeMounts(owner === host1 ? host2 : host1)).toEqual([])
    await awaitLeft([owner === host1 ? 'eu-test-1a' : 'eu-test-1b'], owner === host1 ? 0 : 1)
    await owner.docker('rm', '--force', 'writer')
    await host1.vol('rm', side)
    await awaitLeft([], 0)
  },
  180_000,
)

test('while EC2 takes its time for a round the container can start anew, and a cancel ends the move at once', async () => {
  const { host1 } = lab
  await startWriter(host1, 'writer', 'slow')
  await ec2.slow(true)
  const id = (await host1.vol('move', 'slow', '--to', 'host2', '--detach')).trim()
  await awaitLeft(['eu-test-1a'], 1)
  await host1.docker('restart', '--time', '0', 'writer')
  await goesOn(host1, 'writer')
  await host1.vol('cancel', id)
  await awaitLeft(['eu-test-1a'], 0)
  await ec2.slow(false)
  expect(JSON.parse(await host1.vol('--json', 'inspect', 'slow'))).toMatchObject({ owner: 'host1', openMoveId: null })
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  await host1.vol('rm', 'slow')
  await awaitLeft([], 0)
}, 120_000)
