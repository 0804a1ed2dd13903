import { afterEach, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { clearHosts, expectRefusal, goesOn, inspect, inVolume, startWriter, worldOf } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** A target without room: refused before the writer is touched; and a pool that got full all the same comes back. */
const shared = useLab('space', { poolBytes: 2 ** 30 })
afterEach(() => clearHosts(shared))

/** What was removed has given its room back. */
const roomOn = (host: LabHost) =>
  until('room', async () => {
    const pools: { host: string; freeBytes: number }[] = JSON.parse(await host.vol('--json', 'pools'))
    const pool = pools.find((candidate) => candidate.host === host.name)
    return pool !== undefined && pool.freeBytes > 700 * 2 ** 20 ? true : null
  })

it('refuses a move for which the target has no room: both figures, the writer untouched', async () => {
  const { host1, host2 } = shared
  await inVolume(host2, 'hog', 'fallocate -l 700M /d/file && sync')
  await inVolume(host1, 'large', 'dd if=/dev/urandom of=/d/file bs=1M count=300 conv=fsync 2>/dev/null')
  await startWriter(host1, 'writer', 'large')
  const started = await host1.docker('inspect', '--format', '{{.State.StartedAt}}', 'writer')
  const before = await worldOf(shared)
  const refused = await host1.tryVol('move', 'large', '--to', 'host2')
  expectRefusal(
    refused,
    1,
    'NO_SPACE',
    /no space in pool btrfs:\/srv\/pool on host host2 .*: \d+ bytes are needed, \d+ are free/,
  )
  const [, needed, free] = /: (\d+) bytes are needed, (\d+) are free/.exec(refused.stderr) ?? []
  expect(Number(needed)).toBeGreaterThan(300 * 2 ** 20)
  expect(Number(free)).toBeLessThan(Number(needed))
  expectRefusal(await host1.tryVol('move', 'large', '--to', 'host2', '--dry-run'), 1, 'NO_SPACE', /no space/)
  expect(await worldOf(shared)).toEqual(before)
  expect(await host1.docker('inspect', '--format', '{{.State.StartedAt}}', 'writer')).toBe(started)
  await goesOn(host1, 'writer')
})

it('undoes a move whose target gets full on the way, and gives the room back', async () => {
  const { host1, host2 } = shared
  // Room enough when asked; then somebody else takes it.
  await inVolume(host1, 'large', 'dd if=/dev/urandom of=/d/file bs=1M count=300 conv=fsync 2>/dev/null')
  await startWriter(host1, 'writer', 'large')
  await roomOn(host2)
  const moving = host1.tryVol('move', 'large', '--to', 'host2', '--bwlimit', '50M')
  const early = moving.then(({ stderr }) => Promise.reject(new Error(`the move ended early: ${stderr}`)))
  early.catch(() => undefined)
  const transfer = until('the transfer', async () => {
    const { move } = (await inspect(host1, 'large')) as { move: { phase: string } | null }
    return move?.phase === 'precopy' ? true : null
  })
  await Promise.race([transfer, early])
  await host2.tryExec(['dd', 'if=/dev/zero', 'of=/srv/pool/foreign', 'bs=1M'])
  const result = await moving
  expect(result.exitCode).toBe(1)
  expect(result.stderr).toMatch(/no space/i)
  await goesOn(host1, 'writer')
  // The undo needs no room that it has not got.
  await until('the undo', async () => {
    const { move, partials, replicas } = await inspect(host1, 'large')
    return move === null && JSON.stringify([partials, replicas]) === '[[],[]]' ? true : null
  })
  await host2.exec(['sh', '-c', 'rm /srv/pool/foreign && btrfs filesystem sync /srv/pool'])
  await roomOn(host2)
  await host1.vol('move', 'large', '--to', 'host2')
  await goesOn(host2, 'writer')
})

it('removes volumes from a pool that is full', async () => {
  const { host1 } = shared
  await inVolume(host1, 'hog', 'dd if=/dev/zero of=/d/file bs=1M 2>/dev/null; sync; true')
  await inVolume(host1, 'hog', 'dd if=/dev/zero of=/d/more bs=4k 2>/dev/null; sync; true')
  await host1.docker('volume', 'rm', 'hog')
  await roomOn(host1)
  expect((await host1.exec(['ls', '/srv/pool/trash'])).stdout).toBe('')
})
