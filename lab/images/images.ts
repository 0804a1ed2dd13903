import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { LabError } from '../command.ts'
import type { LabHost } from '../host.ts'
import { busyboxArchive } from './busybox.ts'
import { postgresArchive } from './postgres.ts'

/** Each makes a `docker load` archive, or finds it in the cache, and says where it is. */
const archives = { busybox: busyboxArchive, postgres: postgresArchive }

export type ImageName = keyof typeof archives
export const imageNames = Object.keys(archives) as ImageName[]

/** Makes the image known to a host's engine as `NAME:latest`. */
export const loadImage = async (host: LabHost, name: ImageName): Promise<void> => {
  const file = await archives[name]()
  const child = host.spawn(['docker', 'load', '--quiet'], ['pipe', 'ignore', 'pipe'])
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  if (child.stdin === null) throw new LabError('docker load has no standard input')
  await pipeline(createReadStream(file, { highWaterMark: 2 ** 20 }), child.stdin).catch(() => {})
  if ((await ended) !== 0) throw new LabError(`image ${name} could not be loaded on ${host.name}: ${said.trim()}`)
}
