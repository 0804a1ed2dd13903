import { expect, test, vi } from 'vitest'
import { startApi } from '../../support/api-server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { type Ended, vol } from '../../support/vol.ts'

// Each `vol` is a process: on a busy machine a test of many takes its time.
vi.setConfig({ testTimeout: 120_000 })

const start = async () => {
  const api = await startApi()
  return { ...api, api, run: (...args: string[]): Promise<Ended> => vol(args, { DROVER_SOCKET: api.socket }) }
}

test('init and token print the line that the next host runs, alone', async () => {
  const { run, control } = await start()
  const line = { status: 0, stdout: 'vol join 10.0.0.1:7460 --token tok\n', stderr: '' }
  expect(await run('init')).toEqual(line)
  expect(await run('token', '--ttl', '2h')).toEqual(line)
  expect(control.calls.at(-1)).toBe('issueToken 7200000')
  expect(JSON.parse((await run('token', '--json')).stdout)).toMatchObject({ token: 'tok' })
})

test('join passes address, token and adopt on, and needs a token', async () => {
  const { run, joins } = await start()
  expect(await run('join', '10.0.0.1:7460', '--token', 'good', '--adopt')).toMatchObject({ status: 0 })
  expect(joins).toEqual([{ address: '10.0.0.1:7460', token: 'good', adopt: true }])
  const bad = await run('join', '10.0.0.1:7460', '--token', 'bad')
  expect(bad).toMatchObject({ status: 1, stdout: '' })
  expect(bad.stderr).toMatch(/^vol: TOKEN_INVALID: .*\n$/)
  const without = await run('join', '10.0.0.1:7460')
  expect(without).toMatchObject({ status: 2, stdout: '' })
  expect(without.stderr).toMatch(/^vol: BAD_REQUEST: .*--token.*\n$/)
})

test('hosts and pools are plain tables; a host with volumes stays', async () => {
  const { run } = await start()
  await run('create', 'db', '--host', 'host2')
  const hosts = (await run('hosts')).stdout.trimEnd().split('\n')
  expect(hosts[0]).toMatch(/^NAME +ADDRESS +ROLE +STATE/)
  expect(hosts[1]).toMatch(/^host1 +10\.0\.0\.1:7460 +control +up/)
  expect((await run('pools')).stdout).toMatch(/host1 +btrfs:\/pool +10\.0 GiB +8\.0 GiB +0/)
  expect(await run('host', 'rm', 'host2')).toMatchObject({ status: 4 })
  expect(await run('host', 'rm', 'host9')).toMatchObject({ status: 3 })
  await run('rm', 'db')
  expect(await run('host', 'rm', 'host2')).toMatchObject({ status: 0 })
})

test('create, ls, inspect, resize, rm', async () => {
  const { run, control } = await start()
  const made = await run(
    'create',
    'db',
    '--size',
    '10G',
    '--label',
    'a=b',
    '--label',
    'c=d=e',
    '--pool',
    'btrfs:/pool',
    '--opt',
    'profile=mysql',
  )
  expect(made).toEqual({ status: 0, stdout: 'created db on host1\n', stderr: '' })
  expect(JSON.parse(control.calls.at(-1)?.slice('createVolume '.length) ?? '')).toEqual({
    name: 'db',
    sizeBytes: 10 * 2 ** 30,
    pool: 'btrfs:/pool',
    labels: { a: 'b', c: 'd=e' },
    options: { profile: 'mysql' },
    host: 'host1',
  })
  expect((await run('ls')).stdout).toMatch(/^NAME +OWNER .*\ndb +host1 +10\.0 GiB +16\.0 KiB +ready +btrfs:\/pool\n$/)
  for (const args of [
    ['--json', 'inspect', 'db'],
    ['inspect', 'db', '--json'],
  ]) {
    expect(JSON.parse((await run(...args)).stdout)).toMatchObject({
      id: expect.any(String),
      name: 'db',
      owner: 'host1',
      epoch: 1,
      sizeBytes: 10 * 2 ** 30,
      pool: 'btrfs:/pool',
      snapshots: [{ host: 'host1' }],
      replicas: [{ host: 'host2' }],
      partials: [],
      holders: [],
    })
  }
  expect((await run('inspect', 'db')).stdout).toMatch(/containers: +pg \(running\)/)
  expect((await run('resize', 'db', '20G')).stdout).toBe('resized db to 20.0 GiB\n')
  expect(JSON.parse((await run('ls', '--json')).stdout)).toMatchObject([{ name: 'db', sizeBytes: 20 * 2 ** 30 }])
  expect(await run('rm', 'db', '--force')).toMatchObject({ status: 0, stdout: 'removed db\n' })
  expect(control.calls.at(-1)).toBe('removeVolume db {"force":true}')
  expect((await run('ls')).stdout).toMatch(/^NAME.*\n$/)
})

test('ls shows more than one page', async () => {
  const { run, control } = await start()
  const names = Array.from({ length: 1001 }, (_, index) => `v${String(index).padStart(4, '0')}`)
  for (const name of names) await control.createVolume({ name, labels: {} })
  const lines = (await run('ls')).stdout.trimEnd().split('\n').slice(1)
  expect(lines.map((line) => line.split(' ')[0])).toEqual(names)
})

test('refusals: one line, the code, the exit status', async () => {
  const { run } = await start()
  await run('create', 'db')
  const table: [string[], number, string][] = [
    [['create', 'db'], 4, 'VOLUME_EXISTS'],
    [['create', '../../etc'], 2, 'BAD_NAME'],
    [['create', 'x', '--size', 'huge'], 2, 'BAD_SIZE'],
    [['create', 'x', '--host', 'host9'], 3, 'NO_SUCH_HOST'],
    [['create', 'x', '--pool', 'zfs:none'], 3, 'NO_SUCH_POOL'],
    [['create', 'x', '--label', 'novalue'], 2, 'BAD_REQUEST'],
    [['create', 'x', '--colour', 'red'], 2, 'BAD_REQUEST'],
    [['create'], 2, 'BAD_REQUEST'],
    [['create', 'x', 'y'], 2, 'BAD_REQUEST'],
    [['inspect', 'nothing'], 3, 'NO_SUCH_VOLUME'],
    [['rm', 'nothing'], 3, 'NO_SUCH_VOLUME'],
    [['rm', ''], 2, 'BAD_NAME'],
    [['move', 'db', '--to', 'host1'], 4, 'MOVE_TO_ITSELF'],
    [['move', 'db', '--to', 'host9'], 3, 'NO_SUCH_HOST'],
    [['move', 'db'], 2, 'BAD_REQUEST'],
    [['move', 'db', '--to', 'host2', '--quiesce', 'hope'], 2, 'BAD_REQUEST'],
    [['move', 'db', '--to', 'host2', '--max-downtime', 'soon'], 2, 'BAD_REQUEST'],
    [['move', 'db', '--to', 'host2', '--bwlimit', 'fast'], 2, 'BAD_SIZE'],
    [['move-status', 'nothing'], 3, 'NO_SUCH_MOVE'],
    [['fly'], 2, 'BAD_REQUEST'],
    [['host'], 2, 'BAD_REQUEST'],
    [[], 2, 'BAD_REQUEST'],
  ]
  for (const [args, status, code] of table) {
    const [plain, json] = await Promise.all([run(...args), run(...args, '--json')])
    expect([args, plain.status, plain.stdout]).toEqual([args, status, ''])
    expect(plain.stderr).toMatch(new RegExp(`^vol: ${code}: [^\\n]+\\n$`))
    expect([args, json.status, json.stdout]).toEqual([args, status, ''])
    expect(JSON.parse(json.stderr)).toMatchObject({ code, detail: expect.any(String), status: expect.any(Number) })
  }
  expect((await run('fly')).stderr).toContain("'fly'")
  expect((await run('create', 'x', '--colour', 'red')).stderr).toContain("'--colour'")
})

test('help is a result, and names every command', async () => {
  const { run } = await start()
  const help = await run('--help')
  expect(help).toMatchObject({ status: 0, stderr: '' })
  for (const command of [
    'init',
    'join',
    'token',
    'hosts',
    'host',
    'pools',
    'create',
    'ls',
    'inspect',
    'rm',
    'resize',
  ]) {
    expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'))
  }
  expect(await run('move', '--help')).toMatchObject({ status: 0, stderr: '' })
})

test('without a vold: exit 5 and where it was looked for', async () => {
  const socket = `${await temporaryDirectory()}/vold.sock`
  for (const [args, environment] of [
    [['ls', '--socket', socket], {}],
    [['ls'], { DROVER_SOCKET: socket }],
  ] as const) {
    const answer = await vol(args, environment)
    expect(answer).toMatchObject({ status: 5, stdout: '' })
    expect(answer.stderr).toMatch(
      /^vol: DAEMON_UNREACHABLE: vold does not answer on .*vold\.sock \(ENOENT\); start vold.*\n$/,
    )
    expect(answer.stderr).toContain(socket)
  }
})

test('on a host without the control role, what needs it says so', async () => {
  const api = await startApi({ control: null })
  const answer = await vol(['ls', '--socket', api.socket])
  expect(answer.status).toBe(5)
  expect(answer.stderr).toMatch(/^vol: CONTROL_UNREACHABLE: /)
  expect((await vol(['version', '--socket', api.socket])).stdout).toMatch(/^vol 0.*\nvold 0\.1\.0 on host1\n$/)
})
