import { tag } from '../../src/backends/block/ebs/tags.ts'
import type { Volume, World } from './model.ts'

/** Devices of the cluster of which there were two volumes at one time: one that was asked for again after an answer was lost, say. */
export const secondVolumes = ({ volumes }: World, cluster: string): string[] => {
  const lives = volumes.histories().flatMap((versions) => {
    const [first] = versions
    const tags = first?.value?.tags ?? {}
    const device = tags[tag.cluster] === cluster ? tags[tag.device] : undefined
    if (first === undefined || device === undefined) return []
    const id = first.value?.id ?? ''
    return [
      { device, id, from: first.at, to: versions.find(({ value }) => isGone(value))?.at ?? Number.POSITIVE_INFINITY },
    ]
  })
  return lives.flatMap((one) =>
    lives
      .filter((other) => other.device === one.device && other.id > one.id && other.from < one.to && one.from < other.to)
      .map((other) => `${one.device}: ${one.id} and ${other.id}`),
  )
}

const isGone = (volume: Volume | null): boolean => volume === null || volume.state === 'deleting'
