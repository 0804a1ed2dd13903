import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from '../command.ts'
import { cacheDirectory, withLock } from '../state.ts'
import { build, clear, clearHalfBuilt, keyOf, newestOf } from './builds.ts'
import { findMirror } from './mirror.ts'

const suite = 'trixie'

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
    clearHalfBuilt(directory)
    const script = join(import.meta.dirname, 'build-guest.sh')
    const recipe = keyOf([suite, ...packages, readFileSync(script, 'utf8')].join('\n'))
    const mirror = await findMirror(suite)
    if ('problem' in mirror) {
      const newest = newestOf(directory, `guest-${recipe}-`)
      if (newest === null) throw new LabError(`${mirror.problem}, and no guest was built before`)
      return filesOf(newest)
    }
    const home = join(directory, `guest-${recipe}-${keyOf(mirror.release)}`)
    if (!existsSync(home)) {
      // A guest that boots right now keeps its files open.
      clear(directory, (name) => name.startsWith('guest-'))
      console.error(
        'test:vm: building the guest (Debian 13 with OpenZFS compiled for its kernel); once a machine, some twenty minutes',
      )
      await build(directory, home, {
        ...{ what: 'the guest', minutes: 40, makes: 'guest' },
        script: (work) => [script, work, mirror.url, suite, '/bin/busybox', packages.join(' ')],
      })
    }
    return filesOf(home)
  })

const filesOf = (home: string): GuestImage => ({
  root: join(home, 'root.ext4'),
  kernel: join(home, 'vmlinuz'),
  initrd: join(home, 'initrd'),
})
