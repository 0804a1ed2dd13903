import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import type { Surroundings } from '../../src/backends/block/ebs/surroundings.ts'
import { tag } from '../../src/backends/block/ebs/tags.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { exec, type PoolUnderTest } from '../contract/backend-bench.ts'
import { growsMounted } from '../support/grows-mounted.ts'
import { ebsPool } from './pool.ts'
import { Stranger } from './stranger.ts'

const withoutRecord = 'f'.repeat(26)
const ofNewerFormat = 'n'.repeat(26)
const strangers = [
  'stranger',
  'volumes/stranger',
  `volumes/${withoutRecord}`,
  `volumes/${ofNewerFormat}`,
  'trash/stranger',
  'devices/stranger',
]

interface Options {
  readonly surroundings: Surroundings
  readonly clock: Clock
  readonly ec2: Ec2
  readonly zone: string
  /** Of the pool. */
  readonly spec: string
  /** Between two looks at what takes time. */
  readonly lookMs: number
  /** Resolves when describes tell what was done. */
  readonly settled: () => Promise<void>
  /** What is known beside what EC2 tells of what a stranger made: false when one of these was named in a call that changes something. */
  readonly untouched?: (ids: readonly string[]) => boolean
  readonly dispose: () => Promise<void>
}

/** A pool of EBS for the contract's suite, on whatever answers EC2's calls: everything a stranger does goes by calls too. */
export const ebsUnderTest = (options: Options): PoolUnderTest => {
  const { surroundings, clock, ec2, zone, settled } = options
  const { home, unitBytes } = surroundings
  const cluster = surroundings.cluster()
  const stranger = new Stranger(ec2, { cluster, zone, lookMs: options.lookMs })
  const volume = (id: string) => join(home, 'volumes', id)
  const ofCluster = { Name: `tag:${tag.cluster}`, Values: [cluster] }
  return {
    ...{ growsMounted, wholeBytes: unitBytes, dispose: options.dispose },
    backend: (by = exec) => ebsPool(surroundings, by, clock, options.spec),
    plantForeign: async () => {
      for (const path of strangers) {
        await mkdir(join(home, path))
        await writeFile(join(home, path, 'bytes'), path)
      }
      await writeFile(join(volume(ofNewerFormat), 'volume.json'), '{"formatVersion":2}')
      const strange = await stranger.plant()
      // A note of something that is not Drover's, out of sight.
      const entry = join(home, 'trash', `${'d'.repeat(26)}~${randomUUID()}.json`)
      await writeFile(entry, JSON.stringify({ device: strange.device }))
      return {
        names: ['stranger', withoutRecord, ofNewerFormat],
        untouched: async () => {
          for (const path of strangers) {
            if ((await readFile(join(home, path, 'bytes'), 'utf8')) !== path) return false
          }
          await settled()
          if (options.untouched?.(strange.ids) === false) return false
          return (await strange.untouched()) && (await readdir(join(home, 'trash'))).join() === 'stranger'
        },
        remove: async () => {
          for (const path of strangers) await rm(join(home, path), { recursive: true })
          await strange.remove()
        },
      }
    },
    // A snapshot cannot be written to: a stranger can put another in its place.
    tamper: async (id, name) => {
      const note = JSON.parse(await readFile(join(volume(id), 'snapshots', `${name}.json`), 'utf8'))
      const entry = JSON.parse(await readFile(join(home, 'devices', `${note.device}.json`), 'utf8'))
      await stranger.replace(entry.snapshot.snapshotId)
      await settled()
    },
    interruptRemoval: (id) => rename(volume(id), join(home, 'trash', `${id}~${randomUUID()}`)),
    interruptMaking: async (id) => {
      const device = `${id}.${randomUUID()}`
      await mkdir(join(volume(id), 'making'), { recursive: true })
      await writeFile(join(volume(id), 'making', 'live.json'), JSON.stringify({ device }))
      const made = await stranger.volume({ [tag.cluster]: cluster, [tag.device]: device })
      const volumeNote = { token: randomUUID(), request: {}, volumeId: made, askedAt: clock.now() }
      const entry = { device, sizeBytes: unitBytes, volume: volumeNote, snapshot: null, sealMark: null, epoch: 0 }
      await writeFile(join(home, 'devices', `${device}.json`), JSON.stringify(entry))
    },
    leftovers: async () => {
      await settled()
      const volumes = (await ec2.describeVolumes({ Filters: [ofCluster] })).Volumes ?? []
      const snapshots = (await ec2.describeSnapshots({ OwnerIds: ['self'], Filters: [ofCluster] })).Snapshots ?? []
      return {
        volumes: volumes.filter(({ State }) => State !== 'deleting').length,
        snapshots: snapshots.length,
        devices: await readdir(join(home, 'devices')),
        trash: await readdir(join(home, 'trash')),
        views: await readdir(join(home, 'views')),
      }
    },
  }
}
