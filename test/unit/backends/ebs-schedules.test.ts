import { mkdtemp, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Seal } from '../../../src/backends/block/device.ts'
import { DraftWriter } from '../../../src/backends/block/ebs/direct/draft-writer.ts'
import { askForSize } from '../../../src/backends/block/stream/ask-size.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { blockBytes } from '../../ec2/blocks.ts'
import { plantForeign } from '../../ec2/foreign.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { abroad, Ec2Server, elsewhere, here } from '../../ec2/server.ts'
import { ToldHost } from '../../ec2/told-host.ts'
import { Random } from '../../simulation/random.ts'

/** `npm run test:ebs-faults` tells others: the first seed, and how many. */
const [from = 0, schedules = 1_000] = (process.env.DROVER_EBS_SCHEDULES ?? '0,1000').split(',').map(Number)
const lanes = 8
const clock = fastClock(1_000)
const times = { create: 1, attach: 1, detach: 1, delete: 1, snapshot: 1, modify: 1, lag: 3 }
const faults = ['lost reply', 'lost request', 'throttled', 'failing'] as const
const changes = [
  ...['CreateVolume', 'AttachVolume', 'DetachVolume', 'DeleteVolume', 'CreateSnapshot', 'DeleteSnapshot'],
  ...['StartSnapshot', 'PutSnapshotBlock', 'CompleteSnapshot', 'CopySnapshot'],
]

/** A few operations in any order, calls that go wrong, and processes that die in the midst; then everything is removed. */
const runSchedule = async (server: Ec2Server, seed: number): Promise<void> => {
  const random = new Random(seed)
  const cluster = String(seed).padStart(26, 'c')
  const foreign = plantForeign(server, cluster)
  const directory = await mkdtemp('/var/tmp/drover-ebs-')
  let host: Incarnation = await incarnate({ server, directory, clock, cluster })
  const isOurs = ({ tags }: { tags: Readonly<Record<string, string>> }) => tags['drover:cluster'] === cluster
  const others = new Map<string, ToldHost>()
  const other = async (): Promise<ToldHost> => {
    const identity = random.pick([{ ...here, ...elsewhere }, abroad])
    const known = others.get(identity.instanceId)
    const found = known ?? (await ToldHost.start({ server, directory, clock, cluster, identity }))
    others.set(identity.instanceId, found)
    return found
  }
  const live: string[] = []
  const sealed = new Map<string, Seal>()
  const all: string[] = []
  const begun = () => {
    const device = newDevice()
    all.push(device)
    return device
  }
  const operations: Record<string, () => Promise<unknown>> = {
    create: async () => {
      const device = begun()
      await host.devices.create(device, unitBytes * 2)
      live.push(device)
    },
    snapshot: async () => {
      const from = random.pick(live)
      const device = begun()
      await host.devices.clone(from, device, { toBeSealed: true })
      sealed.set(device, await host.devices.seal(device))
    },
    promote: async () => {
      const device = begun()
      await host.devices.clone(random.pick([...sealed.keys()]), device)
      live.push(device)
    },
    /** What the process does that receives a stream, upon a snapshot or upon nothing. */
    arrive: async () => {
      const { devices, parts } = host
      const device = begun()
      const base = sealed.size > 0 && random.chance(0.5) ? random.pick([...sealed.keys()]) : null
      await devices.arrive(device, base)
      const sizing = devices.sizing(device)
      const place = sizing.by === 'asked' ? await askForSize(sizing.path, unitBytes * 3) : null
      if (place !== null && 'draft' in place) {
        const writer = new DraftWriter(parts.direct.writes, place.draft.snapshotId, null)
        await writer.data(0, Buffer.alloc(blockBytes, 1))
        await writer.end()
      }
      sealed.set(device, await devices.seal(device))
    },
    compare: async () => {
      const told = await host.devices.changes(
        random.pick(live),
        random.pick([...sealed.keys()]),
        unitBytes * 3,
        'running',
      )
      for await (const _ of told ?? []) return
    },
    /** To another zone, or another region: of a snapshot only its name is sent. */
    tell: async () => {
      const teller = host
      const there = await other()
      const told = await teller.devices.told(random.pick([...sealed.keys()]))
      // The dead tell nothing.
      if (dead.has(teller)) return
      await there.adopt(told, random.chance(0.33) ? random.between(0, 10_000) : null)
    },
    'promote there': async () => (await other()).promote((devices) => random.pick(devices)),
    attach: () => host.devices.path(random.pick([...live, ...sealed.keys()])),
    grow: () => host.devices.grow(random.pick(live), unitBytes * 3),
    epoch: () => host.devices.noteEpoch('v'.repeat(26) as VolumeId, random.between(0, 8)),
    strange: () => host.devices.remove(foreign.device),
  }
  const dead = new Set<Incarnation>()
  try {
    for (let count = 2 + random.between(0, 3); count > 0; count -= 1) {
      const names = Object.keys(operations).filter(
        (name) =>
          (live.length > 0 || !/snapshot|grow|attach|compare/.test(name)) &&
          (sealed.size > 0 || !/promote|compare|tell/.test(name)),
      )
      const name = random.pick(names)
      if (random.chance(0.33)) server.faults.add({ action: random.pick(changes), kind: random.pick(faults) })
      const work = (operations[name] ?? operations.create)?.()
      if (random.chance(0.2)) {
        // The process dies; what it was about is not known.
        await Promise.race([work, clock.sleep(random.between(0, 10_000))]).catch(() => {})
        void work?.catch(() => {})
        dead.add(host)
        await host.die()
        host = await incarnate({ server, directory, clock, cluster })
      } else {
        // Changed twice within six hours: EC2 refuses it.
        await work?.catch((error: { code?: string }) => expect(error.code).toBe('VOLUME_BUSY'))
      }
    }
    server.faults.clear()
    for (const there of others.values()) await there.prove()
    const copies = server.abroad.snapshots
      .all()
      .filter(isOurs)
      .map(({ tags }) => tags['drover:device'])
    expect(new Set(copies).size, `seed ${seed}: copies of one device`).toBe(copies.length)
    for (const there of others.values()) await there.removeAll()
    for (const [device, seal] of sealed) expect(await host.devices.isIntact(device, seal)).toBe(true)
    for (const device of all) await host.devices.remove(device)
    const left = [server.world, server.abroad]
      .flatMap(({ volumes, snapshots }) => [...volumes.all(), ...snapshots.all()])
      .filter((each) => isOurs(each) && !('attachment' in each && each.state === 'deleting'))
    expect(left, `seed ${seed}: what is left`).toEqual([])
    expect(foreign.untouched(), `seed ${seed}: what is not ours is untouched`).toBe(true)
  } finally {
    for (const there of others.values()) await there.die()
    await host.die()
    foreign.remove()
    await rm(directory, { recursive: true, force: true })
  }
}

test(`${schedules} random schedules: nothing foreign is touched, nothing of ours is left`, async () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  const lane = async (first: number) => {
    const random = new Random(first + 1)
    const server = await Ec2Server.start({ times, unitBytes, random: () => random.next() })
    try {
      for (let seed = from + first; seed < from + schedules; seed += lanes) {
        await runSchedule(server, seed).catch((error: unknown) => {
          throw new Error(`seed ${seed}`, { cause: error })
        })
      }
    } finally {
      await server.close()
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, first) => lane(first)))
}, 300_000)
