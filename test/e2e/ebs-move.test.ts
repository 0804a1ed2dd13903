import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter, volumeMounts } from '../support/e2e.ts'
import { type LabEc2, startLabEc2 } from '../support/lab-ec2.ts'
import { watchPhases } from '../support/phase-watch.ts'

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly unknown[]
  readonly error: { readonly code: string } | null
}

const pool = 'ebs:?size=1'
let lab: Lab
let ec2: LabEc2
beforeAll(async () => {
  lab = await Lab.up({ name: 'ebs-move', subnet: '10.78.43', vold: false })
  ec2 = await startLabEc2(lab)
  for (const host of lab.hosts) await ec2.startVold(host, pool)
  await lab.makeCluster()
}, 180_000)
afterAll(async () => {
  await lab?.down()
  await ec2?.dispose()
}, 60_000)

const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

test('a container and its volume of EBS go from instance to instance, and back: one volume, detached here and attached there', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'db', 'dd if=/dev/urandom of=/d/big bs=1M count=64')
  const sum = await inVolume(host1, 'db', 'sha256sum /d/big')
  await startWriter(host1, 'writer', 'db')
  const plan = JSON.parse(await host1.vol('--json', 'move', 'db', '--to', 'host2', '--dry-run'))
  expect(plan).toMatchObject({ strategy: 'handover', forecast: { bytes: 0 } })
  const before = (await ec2.calls()).length
  const there = await move('db', host2)
  const asked = (await ec2.calls()).slice(before).map(({ action }) => action)
  console.info(`there: writers stopped for ${there.downtimeMs} ms; EC2 was asked ${asked.join(', ')}`)
  expect(there).toMatchObject({ state: 'done', error: null, totalBytes: 0, rounds: [] })
  expect(asked.filter((action) => /^(Create|Delete)(Volume|Snapshot)$/.test(action))).toEqual([])
  expect(asked.filter((action) => /^(At|De)tachVolume$/.test(action))).toEqual(['DetachVolume', 'AttachVolume'])
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await host2.docker('exec', 'writer', 'sha256sum', '/d/big')).toBe(sum)
  expect(await volumeMounts(host1)).toEqual([])
  expect(await host1.docker('ps', '--all', '--quiet')).toBe('')

  const back = await move('db', host1, '--quiesce', 'pause')
  console.info(`back, paused: writers stopped for ${back.downtimeMs} ms`)
  expect(back).toMatchObject({ state: 'done', error: null, totalBytes: 0 })
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  expect(await inVolume(host1, 'db', 'sha256sum /d/big')).toBe(sum)
  await host1.vol('rm', 'db')
  const deleted = async () => (await ec2.calls()).filter(({ action }) => action === 'DeleteVolume').length
  await expect.poll(deleted, { timeout: 60_000 }).toBe(1)
  expect((await ec2.calls()).filter(({ action }) => action === 'CreateVolume')).toHaveLength(1)
}, 240_000)

/** Waits until the volume is in no move, and says where it is. */
const restsAt = (name: string): Promise<string> =>
  until(
    `volume ${name} to rest`,
    async () => {
      const { stdout, exitCode } = await lab.host1.tryVol('--json', 'inspect', name)
      if (exitCode !== 0) return null
      const { owner, openMoveId } = JSON.parse(stdout)
      return openMoveId === null ? String(owner) : null
    },
    { timeoutMs: 120_000, intervalMs: 500 },
  )

/** The store knows the end of a move before its containers run again. */
const writesOn = async (host: LabHost): Promise<void> => {
  const state = () => host.docker('inspect', '--format', '{{.State.Running}}', 'writer').catch(() => 'absent')
  await until('container writer to run', async () => ((await state()) === 'true' ? true : null), { timeoutMs: 60_000 })
  await goesOn(host, 'writer')
  await expectWhole(host, 'writer')
}

test('an instance that takes no more disks: the volume goes back to where it was, and its container writes on', async () => {
  const { host1, host2 } = lab
  await startWriter(host1, 'writer', 'full')
  await ec2.fill(host2, true)
  const refused = await host1.tryVol('--json', 'move', 'full', '--to', 'host2')
  await ec2.fill(host2, false)
  expect(refused.exitCode).not.toBe(0)
  expect(refused.stderr + refused.stdout).toContain('NO_SPACE')
  expect(await restsAt('full')).toBe('host1')
  await writesOn(host1)
  expect(await host2.docker('ps', '--all', '--quiet')).toBe('')
  await host1.docker('rm', '--force', 'writer')
  await host1.vol('rm', 'full')
}, 120_000)

test.each([
  ['source', 'release'],
  ['target', 'activate'],
])(
  'the %s dies at %s: one writer, with everything, on one host',
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
    const owner = lab.host(await restsAt(side))
    const other = owner === host1 ? host2 : host1
    await writesOn(owner)
    expect(await volumeMounts(other)).toEqual([])
    expect(await other.docker('ps', '--all', '--quiet')).toBe('')
    await owner.docker('rm', '--force', 'writer')
    await host1.vol('rm', side)
  },
  180_000,
)

test("a target that is lost with the disk attached: at an operator's word it comes back from there, and its container writes on", async () => {
  const { host1, host2 } = lab
  await startWriter(host1, 'writer', 'lost')
  const before = (await ec2.calls()).length
  const since = async (action: string) => (await ec2.calls()).slice(before).filter((call) => call.action === action)
  await ec2.hold()
  const id = (await host1.vol('move', 'lost', '--to', 'host2', '--detach')).trim()
  await until('the attach', async () => ((await since('AttachVolume')).length > 0 ? true : null), { timeoutMs: 60_000 })
  await host2.killVold()
  expect((await host1.tryVol('cancel', id)).stderr).toContain('TOO_LATE')
  expect(await since('DetachVolume')).toHaveLength(1)
  await host1.vol('cancel', id, '--target-lost')
  expect(await restsAt('lost')).toBe('host1')
  await writesOn(host1)
  expect((await since('DetachVolume')).map(({ parameters }) => 'Force' in parameters)).toEqual([false, false])
  // It was not lost after all: it hears of it, and leaves the volume alone.
  await ec2.startVold(host2, pool)
  await until('doctor to find nothing', async () => ((await host1.tryVol('doctor')).exitCode === 0 ? true : null), {
    timeoutMs: 90_000,
  })
  await writesOn(host1)
  await host1.docker('rm', '--force', 'writer')
  await host1.vol('rm', 'lost')
}, 240_000)
