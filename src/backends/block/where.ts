import { DroverError } from '../../domain/errors.ts'
import type { PoolSpec } from '../../domain/pool.ts'
import type { VolumeFileSystem } from './device.ts'

/** `WHERE` or `WHERE?fs=xfs`, as every pool of block devices is named. @throws BAD_CONFIG */
export const parseWhere = ({ kind, where: text }: PoolSpec): { where: string; fileSystem: VolumeFileSystem } => {
  const [where = '', ...options] = text.split('?')
  const [option] = options
  if (options.length === 0) return { where, fileSystem: 'ext4' }
  if (options.length === 1 && (option === 'fs=ext4' || option === 'fs=xfs')) {
    return { where, fileSystem: option === 'fs=xfs' ? 'xfs' : 'ext4' }
  }
  throw new DroverError(
    'BAD_CONFIG',
    `pool ${kind}:${text}: write ${kind}:${where}, ${kind}:${where}?fs=ext4 or ${kind}:${where}?fs=xfs`,
  )
}
