import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import { exec, type MakePool } from '../contract/backend-bench.ts'
import { backendSuite } from '../contract/backend-suite.ts'
import { plantForeign } from '../ec2/foreign.ts'
import { loopDisks } from '../ec2/loop-disks.ts'
import { believeToBeOn, cluster, ebsPool, fastClock, surroundingsOf, unitBytes } from '../ec2/pool.ts'
import { Ec2Server, here } from '../ec2/server.ts'
import { growsMounted } from '../support/grows-mounted.ts'

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

/** A host on the strict EC2 server, its volumes loop devices of this machine. A GiB of the server's is a MiB. */
const makePool: MakePool = async () => {
  const disks = await loopDisks([here.instanceId])
  const server = await Ec2Server.start({ disks, unitBytes })
  believeToBeOn(server)
  const clock = fastClock(300)
  const surroundings = {
    ...surroundingsOf(server, disks.directory, clock),
    disks: new KernelDisks(disks.links(here.instanceId)),
  }
  const { home } = surroundings
  const volume = (id: string) => join(home, 'volumes', id)
  const { volumes, snapshots } = server.world
  return {
    growsMounted,
    backend: (by = exec) => ebsPool(surroundings, by, clock),
    plantForeign: async () => {
      for (const path of strangers) {
        await mkdir(join(home, path))
        await writeFile(join(home, path, 'bytes'), path)
      }
      await writeFile(join(volume(ofNewerFormat), 'volume.json'), '{"formatVersion":2}')
      const strange = plantForeign(server, cluster)
      // A note of something that is not Drover's, out of sight.
      const entry = join(home, 'trash', `${'d'.repeat(26)}~${randomUUID()}.json`)
      await writeFile(entry, JSON.stringify({ device: strange.device }))
      return {
        names: ['stranger', withoutRecord, ofNewerFormat],
        untouched: async () => {
          for (const path of strangers) {
            if ((await readFile(join(home, path, 'bytes'), 'utf8')) !== path) return false
          }
          return strange.untouched() && (await readdir(join(home, 'trash'))).join() === 'stranger'
        },
        remove: async () => {
          for (const path of strangers) await rm(join(home, path), { recursive: true })
          strange.remove()
        },
      }
    },
    // A snapshot cannot be written to: a stranger can put another in its place.
    tamper: async (id, name) => {
      const note = JSON.parse(await readFile(join(volume(id), 'snapshots', `${name}.json`), 'utf8'))
      const entry = JSON.parse(await readFile(join(home, 'devices', `${note.device}.json`), 'utf8'))
      await server.replaceSnapshot(entry.snapshot.snapshotId)
      await server.settled()
    },
    interruptRemoval: (id) => rename(volume(id), join(home, 'trash', `${id}~${randomUUID()}`)),
    interruptMaking: async (id) => {
      const device = `${id}.${randomUUID()}`
      await mkdir(join(volume(id), 'making'), { recursive: true })
      await writeFile(join(volume(id), 'making', 'live.json'), JSON.stringify({ device }))
      const made = server.plant({ 'drover:cluster': cluster, 'drover:device': device }, here.zone)
      const volumeNote = { token: randomUUID(), request: {}, volumeId: made, askedAt: clock.now() }
      const entry = { device, sizeBytes: unitBytes, volume: volumeNote, snapshot: null, sealMark: null, epoch: 0 }
      await writeFile(join(home, 'devices', `${device}.json`), JSON.stringify(entry))
    },
    leftovers: async () => ({
      volumes: volumes.all().filter(({ state }) => state !== 'deleting').length,
      snapshots: snapshots.all().length,
      devices: await readdir(join(home, 'devices')),
      trash: await readdir(join(home, 'trash')),
      views: await readdir(join(home, 'views')),
    }),
    dispose: async () => {
      await server.close()
      await disks.dispose()
    },
  }
}

backendSuite('ebs, on the strict EC2 server', makePool, { snapshots: true, streams: true, trees: true })
