import { afterEach, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import { clearHosts, expectRefusal, goesOn, lastNumber, startWriter } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** The state file is lost, or a day old, while a container writes: the hosts' records rebuild it. */
const shared = useLab('recover', { hosts: 2, poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

const database = '/var/lib/drover/control/state.db'
const files = [database, `${database}-wal`, `${database}-shm`]

it.each(['lost', 'old'] as const)(
  'state %s: nothing is changed until vol recover, then all goes on',
  async (kind) => {
    const { host1, host2 } = shared
    await host1.stopVold()
    await host1.exec(['sh', '-c', `rm -rf /srv/copy && mkdir /srv/copy && cp ${database}* /srv/copy/`])
    await host1.startVold()
    await startWriter(host2, 'writer', 'db', '--label', 'kept=yes')
    const before = JSON.parse(await host1.vol('--json', 'inspect', 'db'))
    await host1.killVold()
    await host1.exec(['rm', '-f', ...files])
    if (kind === 'old') await host1.exec(['sh', '-c', `cp /srv/copy/* ${database.replace('/state.db', '/')}`])
    await host1.startVold()

    expectRefusal(await host1.tryVol('create', 'other'), 1, 'STORE_BEHIND', /run vol recover/)
    await goesOn(host2, 'writer')
    await host2.docker('restart', 'writer')
    const written = await goesOn(host2, 'writer')

    expect(await host1.vol('recover', '--dry-run')).toMatch(
      /would recover[^\n]*\n[^\n]*VOLUME[^\n]*\n[^\n]*db +owner +host2/,
    )
    expectRefusal(await host1.tryVol('create', 'other'), 1, 'STORE_BEHIND', /run vol recover/)
    const report = JSON.parse(await host2.vol('--json', 'recover'))
    expect(report).toMatchObject({
      needed: true,
      silent: [],
      volumes: [{ name: 'db', outcome: 'owner', host: 'host2' }],
    })
    const after = JSON.parse(await host1.vol('--json', 'inspect', 'db'))
    expect(after).toMatchObject({ id: before.id, owner: 'host2', epoch: before.epoch, sizeBytes: before.sizeBytes })
    expect(await host1.vol('recover')).toMatch(/nothing to recover/)
    expect(await host1.vol('events')).toMatch(/store\.recovered/)

    await host1.vol('create', 'other')
    await host1.vol('move', 'db', '--to', 'host1')
    await until('the writer on host1', async () => ((await lastNumber(host1, 'writer')) > written ? true : null))
    const log = (await host1.docker('exec', 'writer', 'cat', '/d/log')).split('\n').map(Number)
    expect(log).toEqual(log.map((_, index) => index + 1))
  },
  180_000,
)
