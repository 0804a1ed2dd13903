import { expect, test, vi } from 'vitest'
import { startApi } from '../../support/api-server.ts'
import { startVol, vol } from '../../support/vol.ts'

// Each `vol` is a process: on a busy machine a test of many takes its time.
vi.setConfig({ testTimeout: 120_000 })

const start = async () => {
  const api = await startApi()
  await api.control.createVolume({ name: 'db', labels: {} })
  const environment = { DROVER_SOCKET: api.socket }
  return {
    ...api,
    control: api.control,
    run: (...args: string[]) => vol(args, environment),
    begin: (...args: string[]) => startVol(args, environment),
  }
}

const requestOf = (call: string | undefined) => JSON.parse(call?.slice('startMove db '.length) ?? '')

test('a move: progress on stderr, the summary on stdout', async () => {
  const { run } = await start()
  const answer = await run('move', 'db', '--to', 'host2')
  expect(answer).toMatchObject({
    status: 0,
    stdout: 'moved db from host1 to host2: 3.0 MiB in 2 rounds, 2.0 s, downtime 640 ms\n',
  })
  expect(answer.stderr.split('\n')).toEqual([
    'db: precopy, downtime about 800 ms',
    'db: round 1: 2.0 MiB to send',
    'db: delta',
    'db: round 1: 2.0 MiB in 1.0 s, 2.0 MiB/s',
    'db: retire',
    'db: round 2: 1.0 MiB in 400 ms, 2.5 MiB/s',
    '',
  ])
  expect((await run('ls')).stdout).toMatch(/db +host2/)
  expect((await run('moves')).stdout).toMatch(/db +host1 +host2 +done +3\.0 MiB +640 ms/)
})

test('every option reaches vold in its unit', async () => {
  const { run, control } = await start()
  const options = [
    ...['--pool', 'btrfs:/pool', '--max-downtime', '500ms', '--quiesce', 'pause', '--containers', 'refuse'],
    ...['--bwlimit', '50M', '--drop-mount', '/a', '--drop-mount', '/b', '--health-timeout', '2m', '--verify'],
  ]
  const answer = await run('move', 'db', '--to', 'host2', ...options, '--json')
  expect(answer).toMatchObject({ status: 0, stderr: '' })
  expect(JSON.parse(answer.stdout)).toMatchObject({ state: 'done', totalBytes: 3 * 2 ** 20, downtimeMs: 640 })
  expect(requestOf(control.calls.at(-1))).toEqual({
    to: 'host2',
    pool: 'btrfs:/pool',
    quiesce: 'pause',
    containers: 'refuse',
    maxDowntimeMs: 500,
    bwlimitBytes: 50 * 2 ** 20,
    dropMounts: ['/a', '/b'],
    healthTimeoutMs: 120_000,
    onlyIdle: false,
    verify: true,
  })
})

test('--group: all volumes with the label, and a name or a label, not both', async () => {
  const { run, control } = await start()
  for (const name of ['a', 'b']) await control.createVolume({ name, labels: { app: 'shop' } })
  const answer = await run('move', '--group', 'app=shop', '--to', 'host2')
  expect(answer).toMatchObject({ status: 0 })
  expect(answer.stdout).toMatch(/^moved a from host1 to host2: .*\nmoved b from host1 to host2: .*\n$/)
  expect(answer.stderr).toMatch(/^a: precopy/)
  for (const args of [['db', '--group', 'app=shop'], []]) {
    expect(await run('move', ...args, '--to', 'host2')).toMatchObject({ status: 2, stdout: '' })
  }
  const unknown = await run('move', '--group', 'app=none', '--to', 'host2', '--json')
  expect(JSON.parse(unknown.stderr)).toMatchObject({ code: 'NO_SUCH_VOLUME' })
  const detached = await run('move', '--group', 'app=shop', '--to', 'host1', '--detach')
  const listed = JSON.parse((await run('moves', '--group', detached.stdout.trim(), '--json')).stdout)
  expect(listed.map(({ volumeName }: { volumeName: string }) => volumeName).toSorted()).toEqual(['a', 'b'])
})

test('--dry-run tells and does nothing', async () => {
  const { run, control } = await start()
  const answer = await run('move', 'db', '--to', 'host2', '--dry-run')
  expect(answer).toMatchObject({ status: 0, stderr: '' })
  expect(answer.stdout).toMatch(/bytes: +3\.0 MiB.*\ntime: +about 1\.5 s\ndowntime: +about 800 ms/)
  expect(answer.stdout).not.toContain('EC2')
  const use = { apiCalls: 40, snapshotBytes: 2 ** 30, snapshotGibMonths: 0.0329, volumeGibMonths: 0, transferBytes: 0 }
  const billed = async (cost: { amount: number; currency: string } | null) => {
    control.cloud = { ...use, cost }
    return (await run('move', 'db', '--to', 'host2', '--dry-run')).stdout
  }
  const units = /EC2: +about 40 API calls, at most 1\.0 GiB in snapshots \(0\.0329 GiB-months\), .* transferred/
  expect(await billed(null)).toMatch(new RegExp(`${units.source}\n`))
  expect(await billed({ amount: 0.0017, currency: 'USD' })).toMatch(
    new RegExp(`${units.source}, at most about 0\\.0017 USD\n`),
  )
  expect(control.journal.size).toBe(0)
})

test('--detach, move-status, a second move, cancel', async () => {
  const { run, control } = await start()
  control.running = false
  const detached = await run('move', 'db', '--to', 'host2', '--detach')
  const id = detached.stdout.trim()
  expect(detached.status).toBe(0)
  expect((await run('move-status', id)).stdout).toMatch(/state: +open, precopy/)
  expect((await run('inspect', 'db')).stdout).toMatch(/state: +moving to host2: precopy/)
  const second = await run('move', 'db', '--to', 'host2')
  expect(second).toMatchObject({ status: 4 })
  expect(second.stderr).toMatch(/^vol: MOVE_UNDER_WAY: /)
  expect((await run('cancel', id)).status).toBe(0)
  control.running = true
  const followed = await run('move-status', id, '--follow')
  expect(followed).toMatchObject({ status: 4, stdout: '' })
  expect(followed.stderr).toMatch(/vol: MOVE_CANCELLED: .*\n$/)
  expect((await run('cancel', id)).stderr).toMatch(/^vol: TOO_LATE: /)
  expect((await run('cancel', id, '--target-lost')).stderr).toMatch(/^vol: TOO_LATE: /)
})

test('an aborted move ends with its own code', async () => {
  const { run, control } = await start()
  control.failure = { code: 'NO_SPACE', message: 'no space on host2: 3 GiB needed, 1 GiB free' }
  const answer = await run('move', 'db', '--to', 'host2')
  expect(answer).toMatchObject({ status: 1, stdout: '' })
  expect(answer.stderr).toMatch(/\nvol: NO_SPACE: no space on host2: 3 GiB needed, 1 GiB free\n$/)
  const json = await run('move', 'db', '--to', 'host2', '--json')
  expect(JSON.parse(json.stderr)).toMatchObject({ code: 'NO_SPACE', details: { state: 'aborted' } })
})

test('Ctrl-C leaves the move running and says how to follow it', async () => {
  const { begin, control } = await start()
  control.running = false
  const running = begin('move', 'db', '--to', 'host2')
  await expect.poll(() => running.said.stderr, { timeout: 10_000 }).toContain('precopy')
  running.child.kill('SIGINT')
  const answer = await running.ended
  const [id] = [...control.journal.keys()]
  expect(answer).toMatchObject({ status: 130, stdout: '' })
  expect(answer.stderr).toMatch(new RegExp(`vol move-status ${id} --follow; .*vol cancel ${id}\\n$`))
  expect(control.journal.get(id ?? '')?.state).toBe('open')
})

test('a vold that is away for a moment does not end the following', async () => {
  const { begin, control } = await start()
  control.running = false
  const running = begin('move', 'db', '--to', 'host2')
  await expect.poll(() => running.said.stderr, { timeout: 10_000 }).toContain('precopy')
  const move = control.move.bind(control)
  let looks = 0
  control.move = async (id) => {
    looks += 1
    if (looks < 4) {
      const { DroverError } = await import('../../../src/domain/errors.ts')
      throw new DroverError('CONTROL_UNREACHABLE', 'the control role does not answer; try again later')
    }
    control.running = true
    return move(id)
  }
  expect(await running.ended).toMatchObject({ status: 0, stdout: expect.stringContaining('moved db') })
})

test('events that are kept, and those to come', async () => {
  const { run, begin, control } = await start()
  expect((await run('events')).stdout).toMatch(/^1 \S+ volume\.created \{"name":"db"\}\n$/)
  expect(JSON.parse((await run('events', '--json')).stdout)).toMatchObject({ sequence: 1, type: 'volume.created' })
  const following = begin('events', '--follow', '--json')
  await expect.poll(() => control.listeners.size, { timeout: 10_000 }).toBe(1)
  control.emit('news', { a: 1 })
  await expect.poll(() => following.said.stdout, { timeout: 10_000 }).toContain('"news"')
  expect(JSON.parse(following.said.stdout)).toMatchObject({ sequence: 2, data: { a: 1 } })
})
