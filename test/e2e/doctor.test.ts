import { afterEach, expect, it } from 'vitest'
import { clearHosts, goesOn, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** What an ended move could have left, put there by hand: found, said, removed; what is somebody's stays. */
const shared = useLab('doctor', { hosts: 2, poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

it('finds what a move left, says so, and removes it when told to', async () => {
  const { host1, host2 } = shared
  await startWriter(host1, 'writer', 'db')
  await host1.vol('move', 'db', '--to', 'host2')
  const clean = await host1.tryVol('doctor')
  expect(clean).toMatchObject({ exitCode: 0, stdout: 'nothing found\n' })
  const { id } = JSON.parse(await host1.vol('--json', 'inspect', 'db'))
  const [move] = JSON.parse(await host1.vol('--json', 'moves'))
  const directory = `/srv/pool/volumes/${id}`
  await host1.exec(['mkdir', '-p', `${directory}/partial/move-${move.id}`])
  await host1.exec(['mkdir', '-p', `${directory}/snapshots/mine`])
  await host1.exec([
    'btrfs',
    'subvolume',
    'snapshot',
    '-r',
    `${directory}/snapshots/${move.finalSnapshot}/snap`,
    `${directory}/snapshots/mine/snap`,
  ])
  await host1.docker(
    'create',
    '--name',
    `writer.drover-${move.id}`,
    '--label',
    `drover.move=${move.id}`,
    'busybox',
    'true',
  )
  await host1.docker('create', '--name', 'somebodys', 'busybox', 'true')
  // A removal that did not end, progress of a comparison that nobody goes on with, and a socket that somebody took away.
  await host1.exec(['mkdir', '-p', `/srv/pool/trash/${id}~1-1`, '/var/lib/drover/verifications'])
  await host1.exec(['btrfs', 'subvolume', 'create', `/srv/pool/trash/${id}~1-1/subvolume`])
  await host1.exec(['touch', `/var/lib/drover/verifications/${move.id}.jsonl`])
  await host1.exec(['rm', '-r', '/run/docker/plugins'])

  const found = await host2.tryVol('--json', 'doctor')
  expect(found.exitCode).toBe(1)
  const kinds = (text: string) =>
    JSON.parse(text)
      .findings.map((finding: { kind: string; host: string }) => `${finding.kind} ${finding.host}`)
      .toSorted()
  expect(kinds(found.stdout)).toEqual([
    ...['container host1', 'partial host1', 'plugin host1', 'snapshot host1', 'trash host1', 'verification host1'],
  ])
  const fixed = await host1.tryVol('doctor', '--fix')
  expect(fixed.exitCode).toBe(1)
  expect(fixed.stdout).toMatch(/fixed: host1: partial receive/)
  expect(kinds((await host1.tryVol('--json', 'doctor')).stdout)).toEqual(['snapshot host1'])
  expect(await host1.docker('ps', '--all', '--format', '{{.Names}}')).toBe('somebodys')
  await host1.exec(['test', '-d', `${directory}/snapshots/mine/snap`])
  expect((await host1.exec(['ls', '/srv/pool/trash', '/var/lib/drover/verifications'])).stdout).not.toMatch(
    /[a-z0-9]{26}/,
  )
  expect(await host1.docker('volume', 'ls', '--quiet')).toBe('db')
  await goesOn(host2, 'writer')
}, 120_000)
