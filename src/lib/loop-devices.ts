import { closeSync, openSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { refuseWrites } from './block-device.ts'
import { isErrno, readIfExists } from './files.ts'
import { ioctl } from './ioctl.ts'
import { allMounts } from './mountinfo.ts'

/** A loop device that has a file. */
export interface BoundLoop {
  /** Such as `/dev/loop3`. */
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
  /** The file itself, whatever its name is by now: st_dev and inode. */
  readonly backing: { readonly dev: bigint; readonly inode: bigint }
  readonly isReadOnly: boolean
}

/** Such as `loop3`; with a file or without. */
const loopNames = async (): Promise<string[]> =>
  (await readdir('/sys/block')).filter((entry) => /^loop\d+$/.test(entry))

const getStatus = 0x4c05
const statusBytes = 232
const readOnlyFlag = 1

/** Every loop device that has a file, asked of the kernel: names of files differ between mount namespaces, inodes do not. */
export const boundLoops = async (): Promise<BoundLoop[]> => {
  const found: BoundLoop[] = []
  for (const name of await loopNames()) {
    const device = (await readIfExists(`/sys/block/${name}/dev`))?.trim()
    if (device === undefined || (await readIfExists(`/sys/block/${name}/loop/backing_file`)) === null) continue
    const status = statusOf(`/dev/${name}`)
    if (status === null) continue
    found.push({
      path: `/dev/${name}`,
      device,
      backing: { dev: status.readBigUInt64LE(0), inode: status.readBigUInt64LE(8) },
      isReadOnly: (status.readUInt32LE(52) & readOnlyFlag) !== 0,
    })
  }
  return found
}

/** Null: it has lost its file meanwhile. */
const statusOf = (path: string): Buffer | null => {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (isErrno(error, 'ENXIO', 'ENOENT', 'EBUSY')) return null
    throw error
  }
  try {
    const status = Buffer.alloc(statusBytes)
    ioctl(fd, getStatus, status)
    return status
  } catch (error) {
    if (isErrno(error, 'ENXIO')) return null
    throw error
  } finally {
    closeSync(fd)
  }
}

/**
 * A loop device on which somebody once refused writes (`blockdev --setro`) refuses them for whoever gets it next, and mount(8) would then mount
 * read-only without a word. Of those that have no file, and so are nobody's, none refuses writes afterwards.
 */
export const letIdleLoopsBeWritten = async (): Promise<void> => {
  for (const name of await loopNames()) {
    if ((await readIfExists(`/sys/block/${name}/ro`))?.trim() !== '1') continue
    if ((await readIfExists(`/sys/block/${name}/loop/backing_file`)) !== null) continue
    try {
      refuseWrites(`/dev/${name}`, false)
    } catch (error) {
      if (!isErrno(error, 'ENXIO', 'ENOENT', 'EBUSY')) throw error
    }
  }
}

/**
 * Loop devices of this file, or of one that was deleted under its name, that no mount namespace has mounted: they back nothing.
 * @returns such as `/dev/loop3`
 */
export const idleLoopsOf = async (file: string): Promise<string[]> => {
  const ours: string[] = []
  for (const name of await loopNames()) {
    const backing = (await readIfExists(`/sys/block/${name}/loop/backing_file`))?.trimEnd()
    if (backing === file || backing === `${file} (deleted)`) ours.push(`/dev/${name}`)
  }
  if (ours.length === 0) return []
  const { namespaces } = await allMounts()
  const mounted = new Set(namespaces.flatMap(({ entries }) => entries.map(({ source }) => source)))
  return ours.filter((device) => !mounted.has(device))
}
