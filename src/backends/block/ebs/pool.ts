import { DroverError } from '../../../domain/errors.ts'
import type { PoolSpec } from '../../../domain/pool.ts'
import type { VolumeFileSystem } from '../device.ts'
import { type Profile, profiles } from './profiles.ts'

export interface EbsPool {
  /** As it was given. */
  readonly spec: string
  readonly fileSystem: VolumeFileSystem
  readonly profile: Profile
  /** GiB of a volume for which no size was asked. */
  readonly defaultGib: number
  /** Null: as the account encrypts by itself. */
  readonly kmsKeyId: string | null
  /** Whether snapshots are read, compared and written by the EBS direct API where it is to be had. */
  readonly isDirect: boolean
  /** A directory of this host for images of snapshots. Null: what is looked at is a volume. */
  readonly staging: string | null
  /** The spec without what makes no difference to the volumes: pools that say the same are alike. */
  readonly likeness: string
}

const known = ['fs', 'profile', 'size', 'kms', 'direct', 'staging'] as const
const defaultGib = 20
/** Of the directory with the pool's notes, which its spec names. */
const longestName = 240

/** `ebs:`, or with any of `ebs:?fs=xfs&profile=fast&size=100&kms=KEY&direct=no&staging=/DIR`. @throws BAD_CONFIG */
export const parseEbsPool = ({ text, where }: PoolSpec): EbsPool => {
  const problem = (what: string) => new DroverError('BAD_CONFIG', `pool ${text}: ${what}`)
  const [path, query, more] = where.split('?')
  if (path !== '' || more !== undefined) {
    throw problem('write ebs:, or ebs: and options such as ebs:?profile=fast&fs=xfs')
  }
  const options = new Map<string, string>()
  for (const option of query === undefined ? [] : query.split('&')) {
    const [, name = '', value = ''] = /^([a-z]+)=(.+)$/.exec(option) ?? []
    if (!known.some((each) => each === name) || options.has(name)) {
      throw problem(`${JSON.stringify(option)} is no option; there are ${known.map((each) => `${each}=`).join(', ')}`)
    }
    options.set(name, value)
  }
  const fileSystem = options.get('fs') ?? 'ext4'
  if (fileSystem !== 'ext4' && fileSystem !== 'xfs') throw problem('fs= is ext4 or xfs')
  const profile = profiles.find(({ name }) => name === (options.get('profile') ?? 'standard'))
  if (profile === undefined) throw problem(`profile= is one of ${profiles.map(({ name }) => name).join(', ')}`)
  const size = options.get('size') ?? String(defaultGib)
  if (!/^[1-9][0-9]{0,4}$/.test(size)) throw problem('size= is a number of GiB, such as 100')
  const kmsKeyId = options.get('kms') ?? null
  const direct = options.get('direct') ?? 'yes'
  if (direct !== 'yes' && direct !== 'no') throw problem('direct= is yes or no')
  const staging = options.get('staging') ?? null
  if (staging !== null && (!staging.startsWith('/') || encodeURIComponent(text).length > longestName)) {
    throw problem('staging= is the absolute path of a directory, and not a very long one')
  }
  if (staging !== null && direct === 'no') {
    throw problem('staging= goes by the EBS direct API alone, which direct=no turns off; leave one of them out')
  }
  const alike = [...options].filter(([name]) => name !== 'staging').map(([name, value]) => `${name}=${value}`)
  return {
    ...{ spec: text, fileSystem, profile, kmsKeyId, isDirect: direct === 'yes', staging },
    likeness: alike.length === 0 ? 'ebs:' : `ebs:?${alike.join('&')}`,
    defaultGib: Math.max(Number(size), profile.smallestGib),
  }
}
