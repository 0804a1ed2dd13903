import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import { type CommandResult, until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import type { ErrorCode } from '../../src/domain/errors.ts'
import type { SharedLab } from './lab.ts'
import { overUnix, type RawAnswer } from './unix-http.ts'

/** Appends a growing number to /d/log and syncs it, for ever; ends at once on SIGTERM. */
export const writerLoop =
  'trap "exit 0" TERM; n=$(grep -c . /d/log 2>/dev/null); while :; do n=$((n+1)); echo $n >>/d/log; sync /d/log; sleep 0.05; done'

/** A container that writes to the volume at /d. */
export const startWriter = async (
  host: LabHost,
  container: string,
  volume: string,
  ...flags: readonly string[]
): Promise<void> => {
  const mount = ['--volume', `${volume}:/d`, '--volume-driver', 'drover']
  await host.docker('run', '--detach', '--name', container, ...mount, ...flags, 'busybox', 'sh', '-c', writerLoop)
  await goesOn(host, container)
}

/** Runs a shell line in a container of its own with the volume at /d, and gives what it prints. */
export const inVolume = (host: LabHost, volume: string, script: string): Promise<string> =>
  host.docker('run', '--rm', '-v', `${volume}:/d`, '--volume-driver', 'drover', 'busybox', 'sh', '-c', script)

/** What the container has written so far. */
export const lastNumber = async (host: LabHost, container: string): Promise<number> =>
  Number(await host.docker('exec', container, 'sh', '-c', 'tail -n 1 /d/log 2>/dev/null || echo 0'))

/** Waits until the container has written more than it has now. */
export const goesOn = async (host: LabHost, container: string): Promise<number> => {
  const before = await lastNumber(host, container)
  return until(`container ${container} to write`, async () => {
    const now = await lastNumber(host, container)
    return now > before ? now : null
  })
}

/** Mountpoint as `docker volume inspect` tells it. */
export const mountpointOf = (host: LabHost, volume: string): Promise<string> =>
  host.docker('volume', 'inspect', '--format', '{{.Mountpoint}}', volume)

/** The host's own mounts of volumes: containers' are not in its namespace. */
export const volumeMounts = async (host: LabHost): Promise<string[]> => {
  const { stdout } = await host.exec(['cat', '/proc/1/mounts'])
  return stdout.split('\n').flatMap((line) => {
    const path = line.split(' ')[1] ?? ''
    return path.startsWith('/var/lib/drover/mnt/') ? [path] : []
  })
}

export const inspect = async (host: LabHost, volume: string): Promise<Record<string, unknown>> =>
  JSON.parse(await host.vol('--json', 'inspect', volume))

/** One call of Docker's volume plugin protocol, as an engine sends it. */
export const pluginCall = (host: LabHost, method: string, body?: string | Buffer | object): Promise<RawAnswer> =>
  overUnix(host.path('/run/docker/plugins/drover.sock'), `/${method}`, {
    method: 'POST',
    headers: { accept: 'application/vnd.docker.plugins.v1.2+json' },
    ...(body === undefined
      ? {}
      : { body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
  })

/** The command failed with this exit status, nothing on stdout, and one line `vol: CODE: ...` on stderr. */
export const expectRefusal = (result: CommandResult, exit: number, code: ErrorCode, says: RegExp): void => {
  expect(result).toMatchObject({ exitCode: exit, stdout: '' })
  expect(result.stderr).toMatch(/^vol: [^\n]+\n$/)
  expect(result.stderr).toMatch(new RegExp(`^vol: ${code}: `))
  expect(result.stderr).toMatch(says)
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '')

const hostState = async (host: LabHost) => ({
  containers: linesOf(
    await host.docker('ps', '--all', '--no-trunc', '--format', '{{.ID}} {{.Names}} {{.State}}'),
  ).sort(),
  mounts: (await volumeMounts(host)).sort(),
  // Every dataset, snapshot, partial and record on the pool; not what is inside of them.
  pool: (await host.exec(['find', '/srv/pool', '-mindepth', '1', '-maxdepth', '4', '-not', '-path', '*/data*'])).stdout
    .split('\n')
    .sort(),
  moves: (await host.exec(['find', '/var/lib/drover', '-path', '*/moves/*'])).stdout.split('\n').sort(),
})

/**
 * All that a refused request must leave as it was: volumes with owner and epoch, moves, containers with their state, mounts, and
 * what is on the pools. Removals go on for a moment after they were answered: it is looked at until it stays the same. For labs
 * with a pool at /srv/pool.
 */
export const worldOf = async (shared: SharedLab) => {
  let last = await lookAround(shared)
  return until(
    'the world to come to rest',
    async () => {
      const now = await lookAround(shared)
      const rests = isDeepStrictEqual(now, last)
      last = now
      return rests ? now : null
    },
    { intervalMs: 250 },
  )
}

const lookAround = async (shared: SharedLab) => {
  const volumes: {
    id: string
    name: string
    owner: string
    epoch: number
    state: string
    openMoveId: string | null
  }[] = JSON.parse(await shared.host1.vol('--json', 'ls'))
  const moves: { id: string; state: string }[] = JSON.parse(await shared.host1.vol('--json', 'moves'))
  const hosts: { name: string }[] = JSON.parse(await shared.host1.vol('--json', 'hosts'))
  return {
    volumes: volumes.map(({ id, name, owner, epoch, state, openMoveId }) => ({
      id,
      name,
      owner,
      epoch,
      state,
      openMoveId,
    })),
    moves: moves.map(({ id, state }) => ({ id, state })),
    members: hosts.map(({ name }) => name),
    hosts: await Promise.all(shared.lab.hosts.filter((host) => host.engine.process !== null).map(hostState)),
  }
}

/** Takes every container, then every volume, from every host, also after a test that failed half-way. */
export const clearHosts = async (shared: SharedLab): Promise<void> => {
  for (const host of shared.lab.hosts) {
    const containers = linesOf(await host.docker('ps', '--all', '--quiet'))
    if (containers.length > 0) await host.docker('rm', '--force', '--volumes', ...containers)
  }
  for (const { name } of JSON.parse(await shared.host1.vol('--json', 'ls'))) await shared.host1.vol('rm', name)
  for (const host of shared.lab.hosts) {
    const volumes = linesOf(await host.docker('volume', 'ls', '--quiet'))
    if (volumes.length > 0) await host.docker('volume', 'rm', ...volumes)
  }
}
