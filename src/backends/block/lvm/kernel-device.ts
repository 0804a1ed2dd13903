import { stat } from 'node:fs/promises'
import { deviceNumberOf } from '../../../lib/block-device.ts'
import { isErrno, readIfExists } from '../../../lib/files.ts'

const sectorBytes = 512

/** A device that the kernel has right now. */
export interface KernelDevice {
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
  readonly sizeBytes: number
  readonly isReadOnly: boolean
  /** Changes with every write to it, and when it was taken down and made again. */
  readonly written: string
}

/** The device of this name in the device mapper; null: there is none. Starts no process. */
export const kernelDevice = async (mapped: string): Promise<KernelDevice | null> => {
  const path = `/dev/mapper/${mapped}`
  const number = await deviceNumber(path)
  if (number === null) return null
  const sys = `/sys/dev/block/${number}`
  const [name, size, readOnly, sequence, statistics] = await Promise.all(
    ['dm/name', 'size', 'ro', 'diskseq', 'stat'].map((file) => readIfExists(`${sys}/${file}`)),
  )
  // A node may outlive its device, whose number then is another's.
  if (name?.trim() !== mapped || size == null || readOnly == null) return null
  // Of stat: requests to write, sectors written, requests to discard.
  const counts = (statistics ?? '').trim().split(/\s+/)
  return {
    path,
    device: number,
    sizeBytes: Number(size) * sectorBytes,
    isReadOnly: readOnly.trim() === '1',
    written: [sequence?.trim() ?? '', counts[4], counts[6], counts[11]].join(' '),
  }
}

const deviceNumber = async (path: string): Promise<string | null> => {
  try {
    return deviceNumberOf(await stat(path))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}
