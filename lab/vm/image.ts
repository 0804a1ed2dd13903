import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { LabError } from '../command.ts'
import { signalProcess } from '../processes.ts'
import { cacheDirectory, withLock } from '../state.ts'
import { findMirror, type Mirror } from './mirror.ts'
import { withWorkDirectory } from './work-directory.ts'

const suite = 'trixie'
const minute = 60_000

/** In the guest, beside Debian's smallest system and its kernel. */
const packages = [
  ...[
    'acl',
    'attr',
    'btrfs-progs',
    'busybox-static',
    'ca-certificates',
    'curl',
    'docker-cli',
    'docker.io',
    'e2fsprogs',
  ],
  ...['iproute2', 'iptables', 'kmod', 'lvm2', 'mbuffer', 'mount', 'procps', 'rsync', 'sanoid', 'socat'],
  ...['thin-provisioning-tools', 'udev', 'util-linux', 'xfsprogs', 'xz-utils', 'zfs-dkms', 'zfsutils-linux', 'zstd'],
]

export interface GuestImage {
  readonly root: string
  readonly kernel: string
  readonly initrd: string
}

/**
 * A Debian guest with OpenZFS, built once a machine and kept outside the repository. Its key is the recipe and the release of the
 * mirror, which names the versions of all packages; without a mirror the newest one of this recipe serves.
 */
export const guestImage = (): Promise<GuestImage> =>
  withLock('vm-image', async () => {
    const directory = join(cacheDirectory(), 'vm')
    mkdirSync(directory, { recursive: true })
    // Who builds holds the lock: what lies there of a build is of one that was killed.
    clear(directory, /^\.build-/)
    const recipe = recipeKey()
    const mirror = await findMirror(suite)
    if ('problem' in mirror) {
      const newest = newestOf(directory, recipe)
      if (newest === null) throw new LabError(`${mirror.problem}, and no guest was built before`)
      return filesOf(newest)
    }
    const home = join(directory, `guest-${recipe}-${digest(mirror.release).slice(0, 12)}`)
    if (!existsSync(home)) {
      // A guest that boots right now keeps its files open.
      clear(directory, /^guest-/)
      await build(directory, home, mirror)
    }
    return filesOf(home)
  })

const filesOf = (home: string): GuestImage => ({
  root: join(home, 'root.ext4'),
  kernel: join(home, 'vmlinuz'),
  initrd: join(home, 'initrd'),
})

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

const recipeKey = (): string => {
  const script = readFileSync(join(import.meta.dirname, 'build-guest.sh'), 'utf8')
  return digest([suite, ...packages, script].join('\n')).slice(0, 12)
}

const newestOf = (directory: string, recipe: string): string | null => {
  const homes = readdirSync(directory)
    .filter((name) => name.startsWith(`guest-${recipe}-`))
    .map((name) => join(directory, name))
  return homes.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] ?? null
}

const clear = (directory: string, names: RegExp): void => {
  for (const name of readdirSync(directory).filter((each) => names.test(each))) {
    rmSync(join(directory, name), { recursive: true, force: true })
  }
}

const build = async (directory: string, home: string, mirror: Mirror): Promise<void> => {
  console.error(
    'test:vm: building the guest (Debian 13 with OpenZFS compiled for its kernel); once a machine, some twenty minutes',
  )
  const log = join(directory, 'build.log')
  const work = mkdtempSync(join(directory, '.build-'))
  await withWorkDirectory(work, async (runs) => {
    const script = [join(import.meta.dirname, 'build-guest.sh'), work, mirror.url, suite, '/bin/busybox']
    const fd = openSync(log, 'w')
    // It ends with us, and what it started with it.
    const child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--pid', '--fork', '--kill-child'],
        ...['--propagation', 'private', '--', 'bash', ...script, packages.join(' ')],
      ],
      { stdio: ['ignore', fd, fd] },
    )
    closeSync(fd)
    const ref = runs(child.pid)
    const outOfTime = setTimeout(() => ref !== null && signalProcess(ref, 'SIGKILL'), 40 * minute)
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve)
      child.once('error', (error) => reject(new LabError(`the guest cannot be built: ${error.message}`)))
    }).finally(() => clearTimeout(outOfTime))
    if (code !== 0) {
      const tail = readFileSync(log, 'utf8').trim().split('\n').slice(-5).join(' | ')
      const how = code === null ? 'was cut off after 40 minutes' : `failed (exit ${code})`
      throw new LabError(`building the guest ${how}; ${log} ends with: ${tail}`)
    }
    renameSync(join(work, 'guest'), home)
  })
}
