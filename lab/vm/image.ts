import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LabError, run, tryRun } from '../command.ts'
import { cacheDirectory, withLock } from '../state.ts'

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
    const recipe = recipeKey()
    const mirror = await mirrorOf()
    const release = await releaseOf(mirror)
    const home =
      release === null
        ? newestOf(directory, recipe)
        : join(directory, `guest-${recipe}-${digest(release).slice(0, 12)}`)
    if (home === null) throw new LabError(`${mirror} does not answer, and no guest was built before`)
    if (!existsSync(home)) {
      clearOld(directory)
      await build(directory, home, mirror)
    }
    return { root: join(home, 'root.ext4'), kernel: join(home, 'vmlinuz'), initrd: join(home, 'initrd') }
  })

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

const recipeKey = (): string => {
  const script = readFileSync(join(import.meta.dirname, 'build-guest.sh'), 'utf8')
  return digest([suite, ...packages, script].join('\n')).slice(0, 12)
}

/** Debian's mirror as this machine's own apt sources have it. */
const mirrorOf = async (): Promise<string> => {
  const { stdout } = await tryRun([
    'apt-get',
    'indextargets',
    '--format',
    '$(LABEL) $(REPO_URI)',
    'Created-By: Packages',
  ])
  return /^Debian (\S+)$/m.exec(stdout)?.[1] ?? 'http://deb.debian.org/debian/'
}

/** Its version and date; null: it does not answer. */
const releaseOf = async (mirror: string): Promise<string | null> => {
  const url = `${mirror.replace(/\/?$/, '/')}dists/${suite}/Release`
  const { exitCode, stdout } = await tryRun([
    'curl',
    '--fail',
    '--silent',
    '--show-error',
    '--location',
    '--max-time',
    '60',
    url,
  ])
  return exitCode === 0 ? (stdout.match(/^(Version|Date): .*$/gm) ?? []).join('\n') : null
}

const newestOf = (directory: string, recipe: string): string | null => {
  const homes = readdirSync(directory)
    .filter((name) => name.startsWith(`guest-${recipe}-`))
    .map((name) => join(directory, name))
  return homes.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] ?? null
}

/** A guest that boots right now keeps its files open; the others go, and what a killed build left. */
const clearOld = (directory: string): void => {
  for (const name of readdirSync(directory).filter((each) => /^\.?(guest|build)-/.test(each))) {
    rmSync(join(directory, name), { recursive: true, force: true })
  }
}

const build = async (directory: string, home: string, mirror: string): Promise<void> => {
  console.error(
    'test:vm: building the guest (Debian 13 with OpenZFS compiled for its kernel); once a machine, some ten minutes',
  )
  const work = mkdtempSync(join(directory, '.build-'))
  try {
    await run(
      [
        ...['unshare', '--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private', '--'],
        ...[
          'bash',
          join(import.meta.dirname, 'build-guest.sh'),
          work,
          mirror,
          suite,
          '/bin/busybox',
          packages.join(' '),
        ],
      ],
      { timeoutMs: 60 * minute },
    )
    renameSync(join(work, 'guest'), home)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
