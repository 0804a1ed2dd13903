import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { repository } from '../../lab/host.ts'
import { type Moto, startMoto } from '../../lab/moto/server.ts'
import { EbsDevices } from '../../src/backends/block/ebs/ebs-devices.ts'
import { EbsParts } from '../../src/backends/block/ebs/ebs-parts.ts'
import { connectEc2, type Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { parseEbsPool } from '../../src/backends/block/ebs/pool.ts'
import { volumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import type { InstanceIdentity } from '../../src/lib/instance-metadata.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { DescribedDisks } from '../ec2/described-disks.ts'
import { newDevice } from '../ec2/incarnation.ts'
import { differences, type Laxity, laxities, type Place } from '../ec2/moto-laxities.ts'
import { fastClock, surroundingsOf, unitBytes } from '../ec2/pool.ts'
import { type Exchange, elementsIn, recordingProxy } from '../ec2/recording-proxy.ts'
import { beside, type Ec2Options, Ec2Server, elsewhere, here } from '../ec2/server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

/* moto, which others wrote, gives a second opinion on what goes over the wire. What it lets pass is in ../ec2/moto-laxities.ts. */

const clock = fastClock(200)
let moto: Moto
let place: Place

beforeAll(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  moto = await startMoto()
  const ec2 = await motoClient()
  // Which image does not matter; it knows some.
  const { Images } = await ec2.describeImages({ Owners: ['amazon'] })
  const run = async (zone: string) => {
    const answer = await ec2.runInstances({
      ...{ ImageId: Images?.[0]?.ImageId, MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: zone } },
    })
    return answer.Instances?.[0]?.InstanceId ?? ''
  }
  const zone = `${region}a`
  place = { zone, here: await run(zone), beside: await run(zone), elsewhere: await run(`${region}b`) }
}, 900_000)
afterAll(() => moto?.stop())

const region = 'eu-central-1'
const motoClient = (): Promise<Ec2> => connectEc2({ region, endpoint: moto.endpoint })

const strictServer = async (options: Ec2Options = {}) => {
  const server = await Ec2Server.start({ unitBytes, times: { lag: 0 }, ...options })
  onTestFinished(() => server.close())
  return server
}

/** All that the provider asks of EC2, on what answers there. @returns what went over the wire */
const walk = async (endpoint: string, at: InstanceIdentity): Promise<readonly Exchange[]> => {
  const proxy = await recordingProxy(endpoint)
  onTestFinished(async () => void (await proxy.close()))
  const client = (through: string) => connectEc2({ region: at.region, endpoint: through })
  const server = await strictServer()
  const surroundings = {
    ...surroundingsOf(server, await temporaryDirectory(), clock),
    identity: async () => at,
    connect: () => client(proxy.endpoint),
    disks: new DescribedDisks(await client(endpoint), at.instanceId, unitBytes),
  }
  await mkdir(surroundings.home, { recursive: true })
  const parts = new EbsParts(parseEbsPool(parsePoolSpec('ebs:?profile=fast')), { ...surroundings }, clock, silentLogger)
  await parts.open()
  onTestFinished(() => parts.sizing.close())
  const devices = new EbsDevices(parts, async () => 1)
  const volumes = async () => parts.cloud.volumesTagged('drover:cluster', surroundings.cluster())
  const [live, sealed, promoted] = [newDevice(), newDevice(), newDevice()]

  await devices.create(live, 8 * unitBytes)
  await devices.path(live)
  const [made] = await volumes()
  expect(made).toMatchObject({
    ...{ state: 'in-use', gib: 8, attachments: [{ instanceId: at.instanceId, state: 'attached' }] },
    tags: { 'drover:device': live, 'drover:epoch': '1' },
  })
  await devices.grow(live, 9 * unitBytes)
  await devices.noteEpoch(volumeId('v'.repeat(26)), 2)
  expect(await volumes()).toMatchObject([{ gib: 9, tags: { 'drover:device': live, 'drover:epoch': '2' } }])
  await devices.clone(live, sealed, { toBeSealed: true })
  const seal = await devices.seal(sealed)
  expect(await devices.isIntact(sealed, seal)).toBe(true)
  expect(seal.proof).toMatch(/^snap-[0-9a-f]{17}$/)
  // A volume of the snapshot, to look at, and one to live on.
  await devices.path(sealed)
  await devices.clone(sealed, promoted)
  expect((await volumes()).map(({ gib, tags }) => [gib, tags['drover:device']]).toSorted()).toEqual(
    [live, sealed, promoted].map((device) => [9, device]).toSorted(),
  )
  await devices.pass(live, (passing, entry) => passing.letGo(entry))
  await devices.pass(live, (passing, entry) => passing.keep(entry))
  await devices.path(live)
  for (const device of [live, sealed, promoted]) await devices.remove(device)
  expect((await volumes()).filter(({ state }) => state !== 'deleting')).toEqual([])
  expect(await parts.cloud.snapshotsTagged('drover:device', sealed)).toEqual([])
  return proxy.exchanges
}

/** Elements of all answers to an action. */
const answersOf = (exchanges: readonly Exchange[]): Map<string, Set<string>> => {
  const found = new Map<string, Set<string>>()
  for (const { xml } of exchanges) {
    for (const [path, shapes] of elementsIn(xml)) {
      found.set(path, new Set([...(found.get(path) ?? []), ...shapes]))
    }
  }
  return found
}

test('every call of the provider does on moto what it does on the strict server, and both answer in the same elements', async () => {
  const onMoto = await walk(moto.endpoint, { ...here, region, zone: place.zone, instanceId: place.here })
  const server = await strictServer()
  const onStrict = await walk(server.endpoint, here)
  const actions = (of: readonly Exchange[]) => [...new Set(of.map(({ action }) => action))].toSorted()
  expect(actions(onMoto)).toEqual(actions(onStrict))
  expect(actions(onStrict)).toEqual(
    [
      ...['AttachVolume', 'CreateSnapshot', 'CreateTags', 'CreateVolume', 'DeleteSnapshot', 'DeleteVolume'],
      ...['DescribeSnapshots', 'DescribeVolumes', 'DetachVolume', 'ModifyVolume'],
    ].toSorted(),
  )
  // Waiting aside, which takes the strict server's time, the same calls in the same order.
  const changes = (of: readonly Exchange[]) => of.map(({ action }) => action).filter((name) => !/^Describe/.test(name))
  expect(changes(onStrict)).toEqual(changes(onMoto))
  const [told, strict] = [answersOf(onMoto), answersOf(onStrict)]
  expect([...strict.keys()].filter((path) => !told.has(path))).toEqual(onlyStrict)
  const unlike = [...strict].flatMap(([path, shapes]) => {
    const others = told.get(path)
    // What is empty with one of them says nothing.
    const ours = [...shapes].filter((shape) => shape !== 'empty')
    const theirs = [...(others ?? [])].filter((shape) => shape !== 'empty')
    if (ours.length === 0 || theirs.length === 0 || ours.some((shape) => others?.has(shape))) return []
    return [`${path}: ${ours} here, ${theirs} with moto`]
  })
  expect(unlike).toEqual([])
  console.info(`moto: ${onMoto.length} calls, ${strict.size} elements of answers compared`)
}, 120_000)

/** By AWS's documentation, and not in moto's answers; the provider reads none of them. */
const onlyStrict: readonly string[] = [
  'CreateVolumeResponse/multiAttachEnabled',
  'CreateVolumeResponse/attachmentSet',
  'DescribeVolumesResponse/volumeSet/item/multiAttachEnabled',
  'AttachVolumeResponse/deleteOnTermination',
  'DetachVolumeResponse/deleteOnTermination',
]

test('moto ends with the process that started it, also when that is killed', async () => {
  const script = `const { startMoto } = await import('./lab/moto/server.ts'); console.log((await startMoto()).endpoint)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { cwd: repository })
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk
  })
  await expect.poll(() => said, { timeout: 60_000 }).toMatch(/^http/)
  expect((await fetch(said.trim())).status).toBeLessThan(600)
  child.kill('SIGKILL')
  const isUp = () =>
    fetch(said.trim()).then(
      () => true,
      () => false,
    )
  await expect.poll(isUp, { timeout: 30_000 }).toBe(false)
})

describe.each([
  ['a laxity of moto', laxities],
  ['refused by both, by another code', differences],
])('%s', (_, all) => {
  const outcomeOf = ({ call }: Laxity, ec2: Ec2, at: Place) =>
    call(ec2, at).catch((error: unknown) => (error instanceof Error ? error.name : String(error)))

  test.each(all)('$what', async (each) => {
    const server = await strictServer(each.options)
    const ours = { zone: here.zone, here: here.instanceId, beside: beside.instanceId, elsewhere: elsewhere.instanceId }
    const outcomes = {
      moto: await outcomeOf(each, await motoClient(), place),
      strict: await outcomeOf(each, await connectEc2({ region: here.region, endpoint: server.endpoint }), ours),
    }
    expect(outcomes).toEqual({ moto: each.moto, strict: each.strict })
  })
})
