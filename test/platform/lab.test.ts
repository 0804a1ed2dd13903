import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { run, sleep, until } from '../../lab/command.ts'
import { Lab } from '../../lab/lab.ts'
import { isAlive, type ProcessRef } from '../../lab/processes.ts'
import { labDirectory, recordedRefs } from '../../lab/state.ts'
import { useLab } from '../support/lab.ts'

/** Processes, anywhere, that see a mount of the lab's: all that run on its hosts do. */
const processesOf = (name: string): string[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(`${labDirectory(name)}/`)
      } catch {
        return false
      }
    })

const cgroupsOf = async (name: string): Promise<string> =>
  (await run(['find', '/sys/fs/cgroup', '-maxdepth', '3', '-name', `drover-lab-${name}-*`])).stdout

/** Everything of a lab that is still there. */
const leftOf = async (name: string, refs: readonly ProcessRef[] = [], inodes: readonly string[] = []) => {
  const loops = (await run(['losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-INO'])).stdout
  return {
    directory: existsSync(labDirectory(name)),
    holders: refs.filter(isAlive),
    processes: processesOf(name),
    cgroups: await cgroupsOf(name),
    loops: loops.split('\n').filter((inode) => inodes.includes(inode.trim())),
  }
}
const nothing = { directory: false, holders: [], processes: [], cgroups: '', loops: [] }

describe('a lab', () => {
  const shared = useLab('pl', { vold: false, poolBytes: 256 * 2 ** 20 })

  it('is two engines that do not see each other, with one image of one id', async () => {
    const { host1, host2 } = shared
    expect(await host1.docker('run', '--name', 'one', 'busybox', 'hostname', '-f')).not.toBe('')
    expect(await host2.docker('run', '--name', 'two', 'busybox', 'echo', 'two')).toBe('two')
    expect(await host1.docker('ps', '--all', '--format', '{{.Names}}')).toBe('one')
    expect(await host2.docker('ps', '--all', '--format', '{{.Names}}')).toBe('two')
    const id = ['image', 'inspect', '--format', '{{.Id}}', 'busybox']
    expect(await host1.docker(...id)).toBe(await host2.docker(...id))
    expect((await host1.exec(['hostname'])).stdout.trim()).toBe('host1')
  })

  it('joins its hosts by TCP, containers included, and can cut and limit the link', async () => {
    const { host1, host2 } = shared
    const serve = 'while :; do echo hello | nc -l -p 7000; done'
    await host1.docker(
      'run',
      '--detach',
      '--rm',
      '--name',
      'server',
      '--publish',
      '7000:7000',
      'busybox',
      'sh',
      '-c',
      serve,
    )
    const call = ['run', '--rm', 'busybox', 'timeout', '5', 'nc', host1.address, '7000']
    const answer = () => until('an answer', async () => (await host2.tryDocker(...call)).stdout.trim() || null)
    expect(await answer()).toBe('hello')
    await host1.cut()
    expect((await host2.tryExec(['busybox', 'timeout', '2', 'nc', host1.address, '7000'])).exitCode).not.toBe(0)
    await host1.heal()
    expect(await answer()).toBe('hello')
    await host1.limit(100)
    expect(await answer()).toBe('hello')
    await host1.limit(null)
    await host1.docker('kill', 'server')
  })

  it('gives every host its own pool, /srv and /var/lib', async () => {
    const { host1, host2 } = shared
    await host1.exec(['touch', '/srv/pool/a', '/srv/b', '/var/lib/c'])
    expect((await host1.exec(['stat', '--file-system', '--format', '%T', '/srv/pool'])).stdout.trim()).toBe('btrfs')
    expect((await host2.exec(['sh', '-c', 'ls /srv/pool /srv/b /var/lib/c 2>/dev/null || true'])).stdout).not.toMatch(
      /[abc]$/m,
    )
    expect(existsSync('/srv/b')).toBe(false)
    expect(existsSync(host1.path('/srv/b'))).toBe(true)
  })

  it('brings an engine back after kill -9, and it brings back its containers', async () => {
    const { host1 } = shared
    const daemon = JSON.parse(readFileSync(host1.path('/etc/docker/daemon.json'), 'utf8'))
    expect(daemon['cgroup-parent']).toContain('host1')
    await host1.docker(
      'run',
      '--detach',
      '--name',
      'back',
      '--restart',
      'always',
      '--stop-signal',
      'KILL',
      'busybox',
      'sleep',
      '1000',
    )
    await host1.engine.stop('SIGKILL')
    expect((await host1.tryDocker('ps')).exitCode).not.toBe(0)
    await host1.startEngine()
    const running = await until('the container', async () =>
      (await host1.docker('inspect', '--format', '{{.State.Running}}', 'back')) === 'true' ? 'true' : null,
    )
    expect(running).toBe('true')
  })

  it('ends what was spawned with its child, and passes on signals and exit statuses', async () => {
    const { host1 } = shared
    const killed = host1.spawn(['sleep', '4321'], 'ignore')
    const sleeps = async () => (await host1.exec(['ps', '-eo', 'args'])).stdout.includes('sleep 4321')
    await until('the start', async () => ((await sleeps()) ? true : null))
    killed.kill('SIGKILL')
    await until('the end', async () => ((await sleeps()) ? null : true))
    expect((await host1.tryExec(['sh', '-c', 'exit 7'])).exitCode).toBe(7)
    const trapping = host1.spawn(['sh', '-c', 'trap "exit 9" TERM; echo on; while :; do sleep 0.05; done'])
    await new Promise((resolve) => trapping.stdout?.once('data', resolve))
    const ended = new Promise((resolve) => trapping.once('close', resolve))
    host1.signal(trapping, 'SIGTERM')
    expect(await ended).toBe(9)
  })

  it('leaves nothing when it goes down, twice', async () => {
    const { lab } = shared
    const refs = recordedRefs(lab.name)
    const inodes = lab.hosts.map((host) => String(statSync(join(host.directory, 'srv/pool.img')).ino))
    expect(await cgroupsOf(lab.name)).not.toBe('')
    expect((await leftOf(lab.name, refs, inodes)).loops).toHaveLength(2)
    await lab.down()
    expect(await leftOf(lab.name, refs, inodes)).toEqual(nothing)
    await lab.down()
  })
})

describe('a lab whose maker is killed while it comes up', () => {
  const name = `pk-${process.pid}`
  afterAll(() => Lab.down(name), 60_000)

  /** Runs `up` of the command line and kills it with all its children that are not holders after `ms`. */
  const upAndKill = async (ms: number): Promise<void> => {
    const main = join(import.meta.dirname, '../../lab/main.ts')
    const child = spawn(process.execPath, [main, '--name', name, 'up', '--no-vold', '--images', 'busybox'], {
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => child.once('close', resolve))
    await Promise.race([ended, sleep(ms)])
    child.kill('SIGKILL')
    await ended
  }

  it.each([150, 250, 350, 500, 700, 1000])('goes down whole, killed after %i ms', async (ms) => {
    await upAndKill(ms)
    const refs = recordedRefs(name)
    await Lab.down(name)
    expect(await leftOf(name, refs)).toEqual(nothing)
  })

  it('comes up again over what is left', async () => {
    await upAndKill(600)
    const lab = await Lab.up({ name, vold: false })
    expect(await lab.host2.docker('run', '--rm', 'busybox', 'echo', 'well')).toBe('well')
    await lab.down()
  })
})
