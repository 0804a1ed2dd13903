import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { longestPool, type Names } from './names.ts'
import type { Properties, ZfsCommand } from './zfs-command.ts'

/**
 * Of a volume's own dataset, which is mounted nowhere. What is below it inherits the rest: no access times (a read would be a change),
 * attributes beside the file, and access lists as Linux has them.
 */
export const home = (id: VolumeId): Properties => ({
  ...{ canmount: 'off', mountpoint: 'none', 'drover:volume': id },
  ...{ atime: 'off', xattr: 'sa', acltype: 'posix' },
})

const datasetShape = /^[a-zA-Z][a-zA-Z0-9_.:-]*(\/[a-zA-Z0-9_.:-]+)*$/

/** @throws BAD_CONFIG, NOT_PERMITTED, MISSING_PROGRAM, each saying what to do. */
export const checkPool = async (spec: string, { pool }: Names, command: ZfsCommand): Promise<void> => {
  if (process.geteuid?.() !== 0) {
    throw new DroverError('NOT_PERMITTED', `pool ${spec} needs root: ZFS cannot be managed otherwise; run vold as root`)
  }
  if (!datasetShape.test(pool) || pool.length > longestPool) {
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${spec} does not name a dataset of at most ${longestPool} characters; write zfs:POOL/DATASET`,
    )
  }
  await checkVersions(spec, command)
  const found = await command.get(pool, ['type', 'keystatus'])
  if (found === null) {
    throw new DroverError('BAD_CONFIG', `pool ${spec} does not exist; make it first: zfs create ${pool}`)
  }
  const type = found.get(pool)?.get('type')
  if (type !== 'filesystem') {
    throw new DroverError('BAD_CONFIG', `pool ${spec} is a ${type ?? 'thing'} of ZFS, not a file system; name another`)
  }
  if (found.get(pool)?.get('keystatus') === 'unavailable') {
    throw new DroverError('BAD_CONFIG', `pool ${spec} is encrypted and its key is not loaded; run zfs load-key first`)
  }
}

/** @throws BAD_CONFIG: no module, or too old */
export const checkVersions = async (spec: string, command: ZfsCommand): Promise<void> => {
  const versions = await command.versions()
  if (versions === null) {
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${spec} needs the zfs module of the kernel, which is not loaded; run modprobe zfs (Debian: apt-get install zfs-dkms)`,
    )
  }
  const tooOld = [versions.programs, versions.module].find(([major, minor]) => major < 2 || (major === 2 && minor < 2))
  if (tooOld === undefined) return
  throw new DroverError(
    'BAD_CONFIG',
    `pool ${spec} needs OpenZFS 2.2 or newer, here is ${tooOld.join('.')}; use Debian 13, or Debian 12's backports`,
  )
}
