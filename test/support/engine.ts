import { execFile, spawn } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { overUnix } from './unix-http.ts'

const run = promisify(execFile)
const root = '/var/tmp'
const prefix = 'drover-engine-'

/** A real engine of its own: private mount, network and UTS namespaces, private /run/docker, its data under /var/tmp. */
export interface TestEngine {
  readonly directory: string
  readonly socketPath: string
  /** Where this engine looks for plugins, as this process can reach it. */
  readonly pluginDirectory: string
  readonly pid: number
  /** The docker command on this engine; its trimmed stdout. */
  docker(...args: string[]): Promise<string>
  api(method: string, path: string, body?: unknown): Promise<{ status: number; json: unknown }>
  stop(): Promise<void>
}

const startScript = `
mkdir -p /run/docker && mount -t tmpfs tmpfs /run/docker && mkdir /run/docker/plugins && ip link set lo up && hostname "$2" &&
exec dockerd --data-root "$1/data" --exec-root "$1/exec" -H "unix://$1/docker.sock" --pidfile "$1/docker.pid"
`

export const startEngine = async (hostName: string): Promise<TestEngine> => {
  await sweep()
  const directory = await mkdtemp(join(root, prefix))
  await writeFile(join(directory, 'owner'), String(process.pid))
  const log = join(directory, 'log')
  const child = spawn(
    'unshare',
    [
      '-m',
      '-n',
      '-u',
      '--propagation',
      'private',
      'sh',
      '-c',
      `(${startScript}) >"$1/log" 2>&1`,
      'sh',
      directory,
      hostName,
    ],
    { stdio: 'ignore', detached: true },
  )
  child.unref()
  const socketPath = join(directory, 'docker.sock')
  const stop = () => stopEngine(directory)
  for (let tries = 0; ; tries += 1) {
    const answer = await overUnix(socketPath, '/_ping').catch(() => null)
    if (answer?.status === 200) break
    if (tries > 300 || child.exitCode !== null) {
      const text = await readFile(log, 'utf8').catch(() => '')
      await stop()
      throw new Error(`dockerd does not come up:\n${text.slice(-2000)}`)
    }
    await sleep(100)
  }
  const pid = Number(await readFile(join(directory, 'docker.pid'), 'utf8'))
  return {
    directory,
    socketPath,
    pid,
    pluginDirectory: `/proc/${pid}/root/run/docker/plugins`,
    async docker(...args) {
      const env = { ...process.env, DOCKER_HOST: `unix://${socketPath}` }
      const { stdout } = await run('docker', args, { env, maxBuffer: 2 ** 26 })
      return stdout.trim()
    },
    async api(method, path, body) {
      const answer = await overUnix(socketPath, path, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
      })
      return { status: answer.status, json: answer.text === '' ? null : JSON.parse(answer.text) }
    },
    stop,
  }
}

/** Imports busybox-static as `busybox:test`; needs no registry. */
export const importBusybox = async (engine: TestEngine): Promise<void> => {
  const tree = join(engine.directory, 'busybox')
  await mkdir(join(tree, 'bin'), { recursive: true })
  await copyFile('/bin/busybox', join(tree, 'bin', 'busybox'))
  const applets = [
    'sh',
    'sleep',
    'cat',
    'ls',
    'echo',
    'true',
    'false',
    'touch',
    'test',
    'trap',
    'nc',
    'kill',
    'id',
    'dd',
  ]
  // Content at the place of a volume: an engine copies it up unless told not to.
  await mkdir(join(tree, 'data'))
  await writeFile(join(tree, 'data', 'seed'), 'from the image')
  await Promise.all(applets.map((applet) => symlink('busybox', join(tree, 'bin', applet))))
  await run('tar', ['-C', tree, '-cf', `${tree}.tar`, '.'])
  await engine.docker('import', `${tree}.tar`, 'busybox:test')
}

/** Everything that was started for this directory: dockerd, containerd, shims (by their arguments), containers (by their shims). */
const stopEngine = async (directory: string): Promise<void> => {
  const own = await processesOf(directory)
  const family = await descendants(own)
  const containers = await readdir(join(directory, 'data', 'containers')).catch(() => [])
  for (const pid of [...own, ...family]) signal(pid)
  for (let tries = 0; tries < 100 && (await processesOf(directory)).length > 0; tries += 1) await sleep(50)
  await removeCgroups(containers)
  for (const mountPoint of await mountsBelow(directory)) await run('umount', ['-l', mountPoint]).catch(() => null)
  await rm(directory, { recursive: true, force: true })
}

/** The runtime would do it, had it not been killed. */
const removeCgroups = async (containers: readonly string[]): Promise<void> => {
  const mounts = await readdir('/sys/fs/cgroup').catch(() => [])
  for (const id of containers) {
    for (const mount of ['', ...mounts]) await rmdir(join('/sys/fs/cgroup', mount, 'docker', id)).catch(() => null)
  }
}

const signal = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Ended by itself meanwhile.
  }
}

const processesOf = async (directory: string): Promise<number[]> => {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const words = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (/^(dockerd|.*\/dockerd|containerd.*|.*\/containerd.*|docker-proxy|unshare|sh)$/.test(words[0] ?? '')) {
      if (words.some((word) => word.includes(directory))) found.push(Number(name))
    }
  }
  return found
}

const descendants = async (pids: readonly number[]): Promise<number[]> => {
  const children = (
    await Promise.all(
      pids.map((pid) =>
        run('ps', ['-o', 'pid=', '--ppid', String(pid)]).then(
          ({ stdout }) =>
            stdout
              .split('\n')
              .map(Number)
              .filter((child) => child > 0),
          () => [],
        ),
      ),
    )
  ).flat()
  return children.length === 0 ? [] : [...children, ...(await descendants(children))]
}

const mountsBelow = async (directory: string): Promise<string[]> =>
  (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountPoint) => mountPoint.startsWith(`${directory}/`))
    .reverse()

/** What an earlier run that was killed left behind. */
const sweep = async (): Promise<void> => {
  for (const name of (await readdir(root)).filter((entry) => entry.startsWith(prefix))) {
    const directory = join(root, name)
    const owner = Number(await readFile(join(directory, 'owner'), 'utf8').catch(() => '0'))
    const alive =
      owner > 0 &&
      (await readdir(`/proc/${owner}`).then(
        () => true,
        () => false,
      ))
    if (owner > 0 && !alive) await stopEngine(directory)
  }
}
