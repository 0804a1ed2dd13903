import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, open, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ImageNotes } from '../../src/backends/block/ebs/staging/image-notes.ts'
import { Images } from '../../src/backends/block/ebs/staging/images.ts'
import { StagedDevices } from '../../src/backends/block/ebs/staging/staged-devices.ts'
import { setImmutable } from '../../src/lib/immutable.ts'
import { exec } from '../contract/backend-bench.ts'
import { blockBytes } from '../ec2/blocks.ts'
import { fileDisks } from '../ec2/file-disks.ts'
import { type Incarnation, incarnate, newDevice } from '../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../ec2/pool.ts'
import { Ec2Server } from '../ec2/server.ts'
import { loopDisk } from '../support/loop-disk.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

/* Local images of snapshots: what each holds, and what of it counts after a crash. */

const clock = fastClock(200)
const sizeBytes = 8 * unitBytes

type Limits = NonNullable<Parameters<typeof incarnate>[0]['limits']>

const start = async ({ diskBytes = 2 ** 29, kind = 'xfs' as 'xfs' | 'ext4', limits = {} as Limits } = {}) => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  const disk = await loopDisk(kind, diskBytes)
  onTestFinished(() => disk.dispose())
  const directory = await temporaryDirectory()
  const disks = fileDisks(directory)
  const server = await Ec2Server.start({ unitBytes, disks, times: { lag: 0 } })
  onTestFinished(() => server.close())
  const spec = `ebs:?staging=${disk.path}`
  let host: Incarnation | null = null
  let devices: StagedDevices | null = null
  const dies = async () => {
    await devices?.close()
    host?.die()
  }
  onTestFinished(dies)
  /** A process; the one before has died. */
  const bootAt = async (staging: string): Promise<StagedDevices> => {
    await dies()
    host = await incarnate({ server, directory, clock, spec, limits })
    const { devices: ebs, parts } = host
    const content: typeof ebs.content = (device, base) => ebs.content(device, base)
    devices = new StagedDevices(ebs, new Images(parts, staging, content, exec), parts)
    await devices.open()
    return devices
  }
  const boot = () => bootAt(disk.path)
  const home = join(directory, 'home')
  return {
    ...{ server, boot, bootAt, disk, images: join(disk.path, 'drover-images'), notes: new ImageNotes(home), home },
    count: (action: string, since = 0) => server.calls(since).filter((each) => each === action).length,
    snapshotOf: async (device: string) => {
      const entry = JSON.parse(await readFile(join(home, 'devices', `${device}.json`), 'utf8'))
      return readFile(disks.path(entry.snapshot.snapshotId))
    },
  }
}

const write = async (path: string, at: number, bytes: Buffer): Promise<void> => {
  const file = await open(path, 'r+')
  await file.write(bytes, 0, bytes.length, at).finally(() => file.close())
}

/** The image, as who reads all of it asks for it. */
const shown = async (devices: StagedDevices, device: string): Promise<string> => {
  await devices.prefetch(device)
  return devices.path(device)
}

/** What arrives, with other bytes in two places than the base has. */
const written = async (devices: StagedDevices, base: string | null) => {
  const device = newDevice()
  await devices.stage(device, base, sizeBytes)
  const path = await devices.path(device)
  for (const at of [blockBytes - 4096, 9 * blockBytes]) await write(path, at, randomBytes(8192))
  return { device, path, bytes: await readFile(path) }
}

const arrived = async (devices: StagedDevices, base: string | null) => {
  const all = await written(devices, base)
  return { ...all, seal: await devices.seal(all.device) }
}

const forget = async (path: string): Promise<void> => {
  setImmutable(path, false)
  await rm(path)
}

test.each(['xfs', 'ext4'] as const)('%s: what differs is put, and fetched; the rest is the base’s', async (kind) => {
  const { boot, server, count, snapshotOf } = await start({ kind })
  const devices = await boot()
  const one = await arrived(devices, null)
  expect((await snapshotOf(one.device)).equals(one.bytes)).toBe(true)
  expect([count('PutSnapshotBlock'), count('GetSnapshotBlock')]).toEqual([3, 0])
  const since = server.journal.length
  const two = await arrived(devices, one.device)
  expect((await snapshotOf(two.device)).equals(two.bytes)).toBe(true)
  expect([count('PutSnapshotBlock', since), server.world.volumes.all()]).toEqual([3, []])
  expect(await devices.isIntact(two.device, two.seal)).toBe(true)
  // What is zeros now is put as such.
  const three = newDevice()
  await devices.stage(three, two.device, sizeBytes)
  await write(await devices.path(three), 9 * blockBytes, Buffer.alloc(blockBytes))
  await devices.seal(three)
  expect((await snapshotOf(three)).equals(Buffer.from(two.bytes).fill(0, 9 * blockBytes, 10 * blockBytes))).toBe(true)

  // Those that are gone are fetched: the first one whole, the next upon it.
  for (const each of [one, two]) await forget(each.path)
  const again = await boot()
  const at = server.journal.length
  expect((await readFile(await shown(again, one.device))).equals(one.bytes)).toBe(true)
  expect((await readFile(await shown(again, two.device))).equals(two.bytes)).toBe(true)
  // Each time one of each snapshot tries whether they can be read.
  expect(count('GetSnapshotBlock', at)).toBe(3 + 1 + 3 + 2)
  expect(count('CreateVolume')).toBe(0)
})

test('a damaged block: refused, and nothing is left of what was fetched', async () => {
  const { boot, server, images, notes } = await start()
  const devices = await boot()
  const one = await arrived(devices, null)
  await forget(one.path)
  const again = await boot()
  // The first block tries whether it can be read.
  server.faults.add({ action: 'GetSnapshotBlock', kind: { slowMs: 0 } })
  server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged', times: 9 })
  await expect(shown(again, one.device)).rejects.toMatchObject({
    code: 'STREAM_FAILED',
    message: expect.stringMatching(/^block \d+ of snapshot snap-\w+ came damaged 3 times[^\n]+$/),
  })
  expect([await readdir(images), await notes.all()]).toEqual([[], []])
  server.faults.clear()
  expect((await readFile(await shown(again, one.device))).equals(one.bytes)).toBe(true)
})

test('a crash between the image and its note: it counts as nothing, and is fetched again', async () => {
  const { boot, images, notes, count, server } = await start()
  const devices = await boot()
  const one = await arrived(devices, null)
  await notes.write({ device: one.device, state: 'making' })
  const half = newDevice()
  await notes.write({ device: half, state: 'making' })
  await writeFile(join(images, half), 'half')
  const again = await boot()
  expect([await readdir(images), await notes.all()]).toEqual([[], []])
  const since = server.journal.length
  expect((await readFile(await shown(again, one.device))).equals(one.bytes)).toBe(true)
  expect(count('GetSnapshotBlock', since)).toBe(4)
})

test('an image that somebody wrote to counts as nothing, and nothing goes upon it', async () => {
  const { boot, snapshotOf } = await start()
  const devices = await boot()
  const one = await arrived(devices, null)
  setImmutable(one.path, false)
  await write(one.path, 0, Buffer.from('not what was sealed'))
  setImmutable(one.path, true)
  const two = await arrived(devices, one.device)
  expect((await snapshotOf(two.device)).equals(two.bytes)).toBe(true)
  expect(two.bytes.subarray(0, 4096).equals(Buffer.alloc(4096))).toBe(true)
})

test('a crash while blocks are put: they are put again, and one snapshot stays', async () => {
  const { boot, server, snapshotOf } = await start()
  const devices = await boot()
  const one = await arrived(devices, null)
  const two = newDevice()
  await devices.stage(two, one.device, sizeBytes)
  await write(await devices.path(two), 0, randomBytes(blockBytes))
  const bytes = await readFile(await devices.path(two))
  server.faults.add({ action: 'CompleteSnapshot', kind: { slowMs: 60_000 } })
  void devices.seal(two).catch(() => {})
  await expect.poll(() => server.calls().filter((each) => each === 'CompleteSnapshot').length).toBe(2)
  const again = await boot()
  server.faults.clear()
  const seal = await again.seal(two)
  expect(await again.isIntact(two, seal)).toBe(true)
  expect((await snapshotOf(two)).equals(bytes)).toBe(true)
  expect(server.world.snapshots.all()).toHaveLength(2)
  expect(server.world.volumes.all()).toEqual([])
})

test('blocks that are not taken: an error, and nothing of it stays in EC2 or in the directory when it is given up', async () => {
  const { boot, server, images, notes } = await start()
  const devices = await boot()
  const one = newDevice()
  await devices.stage(one, null, sizeBytes)
  await write(await devices.path(one), 0, randomBytes(blockBytes))
  server.faults.add({ action: 'PutSnapshotBlock', kind: 'denied', times: 99 })
  await expect(devices.seal(one)).rejects.toMatchObject({ code: 'NOT_PERMITTED' })
  await devices.remove(one)
  expect(server.world.snapshots.all()).toEqual([])
  expect([await readdir(images), await notes.all()]).toEqual([[], []])
})

test('a full directory: NO_SPACE in one line, and nothing is left', async () => {
  const { boot, images, notes, disk } = await start({ kind: 'ext4', diskBytes: 24 * 2 ** 20 })
  const devices = await boot()
  const one = newDevice()
  await devices.stage(one, null, sizeBytes)
  await write(await devices.path(one), 0, randomBytes(sizeBytes))
  await devices.seal(one)
  const full = expect.objectContaining({
    code: 'NO_SPACE',
    message: expect.stringMatching(/^no space in the staging directory [^\n]+$/),
  })
  const filler = join(disk.path, 'filler')
  const fill = async (leftBytes: number) => {
    await rm(filler, { force: true })
    const { bavail, bsize } = await statfs(disk.path)
    await writeFile(filler, randomBytes(bavail * bsize - leftBytes), { flush: true })
  }
  await fill(2 * 2 ** 20)
  await expect(devices.stage(newDevice(), one, sizeBytes)).rejects.toEqual(full)
  expect([await readdir(images), (await notes.all()).map(({ device }) => device)]).toEqual([[one], [one]])
  await forget(join(images, one))
  const again = await boot()
  await fill(2 * 2 ** 20)
  await expect(shown(again, one)).rejects.toEqual(full)
  expect([await readdir(images), await notes.all()]).toEqual([[], []])
  await rm(filler)
  expect((await readFile(await shown(again, one))).length).toBe(sizeBytes)
})

test('what is not Drover’s is left alone, whatever it is called', async () => {
  const { boot, disk, images } = await start()
  const devices = await boot()
  const one = await arrived(devices, null)
  const strangers = [join(disk.path, 'theirs'), join(images, 'theirs'), join(images, newDevice())]
  for (const path of strangers) await writeFile(path, 'theirs')
  const again = await boot()
  await again.remove(one.device)
  for (const path of strangers) expect(await readFile(path, 'utf8')).toBe('theirs')
  expect((await readdir(images)).length).toBe(2)
})

test('a directory that cannot be used is refused in one line', async () => {
  const { boot, bootAt, disk, images } = await start()
  await mkdir(images)
  await chmod(images, 0o777)
  const refused = (why: RegExp) => ({ code: 'BAD_CONFIG', message: expect.stringMatching(why) })
  await expect(boot()).rejects.toMatchObject(refused(/^the staging directory [^\n]+ not made by Drover[^\n]+$/))
  expect((await lstat(images)).mode & 0o777).toBe(0o777)
  await rm(images, { recursive: true })
  await writeFile(images, 'a file')
  await expect(boot()).rejects.toMatchObject(refused(/not made by Drover/))
  await rm(images)
  await boot()
  for (const [path, why] of [
    [join(disk.path, 'missing'), /^the staging directory [^\n]+ does not exist[^\n]+$/],
    ['/etc/hostname', /^the staging directory [^\n]+ is not a directory[^\n]+$/],
  ] as const) {
    await expect(bootAt(path)).rejects.toMatchObject(refused(why))
  }
})

test('nobody asks for it: an image goes, the newest of a volume last; never one that something goes upon', async () => {
  const minute = 60_000
  const { boot, images } = await start({ limits: { view: 2 * minute, image: 20 * minute } })
  const devices = await boot()
  const one = await arrived(devices, null)
  const two = await arrived(devices, one.device)
  const draft = newDevice()
  await devices.stage(draft, two.device, sizeBytes)
  await expect.poll(async () => (await readdir(images)).length, { timeout: 60_000 }).toBe(2)
  await clock.sleep(30 * minute)
  expect((await readdir(images)).toSorted()).toEqual([draft, two.device].toSorted())
  await devices.remove(draft)
  await expect.poll(() => readdir(images), { timeout: 60_000 }).toEqual([])
  expect((await readFile(await shown(devices, one.device))).equals(one.bytes)).toBe(true)
})

test('who does not read it file by file does not fetch it', async () => {
  const { boot, images, server } = await start()
  const devices = await boot()
  const { device, path } = await arrived(devices, null)
  expect(await devices.path(device)).toBe(path)
  await forget(path)
  const since = server.calls().length
  // Here a volume is a file.
  await devices.path(device)
  const calls = server.calls(since)
  expect([calls.includes('CreateVolume'), calls.includes('GetSnapshotBlock')]).toEqual([true, false])
  expect(await readdir(images)).toEqual([])
})

const soon = { code: 'TIMED_OUT', details: { pending: true } }

test('blocks that take longer to be put than one call waits: who asks again joins, and they are put once', async () => {
  const { boot, count, snapshotOf } = await start({ limits: { put: 0 } })
  const devices = await boot()
  const { device, bytes } = await written(devices, null)
  await expect(devices.seal(device)).rejects.toMatchObject(soon)
  await expect
    .poll(
      () =>
        devices.seal(device).then(
          () => 'sealed',
          (error) => error.code,
        ),
      { timeout: 60_000 },
    )
    .toBe('sealed')
  expect((await snapshotOf(device)).equals(bytes)).toBe(true)
  expect([count('StartSnapshot'), count('PutSnapshotBlock')]).toEqual([1, 3])
})

test('what is removed while its blocks are put is put no further, and nothing of it is left', async () => {
  const { boot, images, notes, server } = await start({ limits: { put: 0 } })
  const devices = await boot()
  const { device } = await written(devices, null)
  await expect(devices.seal(device)).rejects.toMatchObject(soon)
  await devices.remove(device)
  await expect.poll(() => server.world.snapshots.all(), { timeout: 60_000 }).toEqual([])
  expect([await readdir(images), await notes.all()]).toEqual([[], []])
})
