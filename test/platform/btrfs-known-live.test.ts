import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { createBackend } from '../../src/backends/registry.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { Exec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, newId } from '../contract/backend-bench.ts'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'

let disk: LoopBtrfs
let shown = 0
beforeAll(async () => {
  disk = await loopBtrfs()
})
afterAll(() => disk.dispose())
beforeEach(() => {
  shown = 0
})

const counting: Exec = {
  ...exec,
  run: (argv, options) => {
    if (argv[2] === 'show') shown += 1
    return exec.run(argv, options)
  },
}

const made = async () => {
  const backend = createBackend({
    spec: parsePoolSpec(`btrfs:${disk.path}`),
    exec: counting,
    logger: silentLogger,
    clock: systemClock,
  })
  await backend.open()
  onTestFinished(() => backend.close())
  const id = newId()
  const { uuid } = await backend.create(id, { sizeBytes: null })
  const uuidNow = async () => (await backend.live(id, { sync: false }))?.uuid
  await systemClock.sleep(150)
  expect(await uuidNow()).toBe(uuid)
  shown = 0
  expect(await uuidNow()).toBe(uuid)
  expect(shown).toBe(0)
  return { backend, id, uuid, uuidNow, live: liveOf(id) }
}

const liveOf = (id: VolumeId) => join(disk.path, 'volumes', id, 'live')

test('writing into the live dataset asks for no new look', async () => {
  const { uuid, uuidNow, live } = await made()
  await writeFile(join(live, 'data', 'file'), 'text')
  await writeFile(join(live, 'beside'), 'text')
  expect(await uuidNow()).toBe(uuid)
  expect(shown).toBe(0)
})

test('another subvolume under its name is seen at once, also one that takes its place in one step', async () => {
  const { uuid, uuidNow, live } = await made()
  await sh('btrfs', 'subvolume', 'snapshot', live, `${live}.copy`)
  await systemClock.sleep(150)
  expect(await uuidNow()).toBe(uuid)
  await rename(live, `${live}.old`)
  await rename(`${live}.copy`, live)
  const swapped = await uuidNow()
  expect(swapped).not.toBe(uuid)
  await systemClock.sleep(150)
  expect(await uuidNow()).toBe(swapped)
  await sh('btrfs', 'subvolume', 'delete', live)
  expect(await uuidNow()).toBeUndefined()
  await sh('btrfs', 'subvolume', 'snapshot', `${live}.old`, live)
  expect([uuid, swapped]).not.toContain(await uuidNow())
})

test('another volume directory in its place is seen', async () => {
  const { uuid, uuidNow, id } = await made()
  const other = await made()
  const home = join(disk.path, 'volumes', id)
  await rename(home, `${home}.away`)
  expect(await uuidNow()).toBeUndefined()
  await rename(join(disk.path, 'volumes', other.id), home)
  expect(await uuidNow()).toBe(other.uuid)
  expect(other.uuid).not.toBe(uuid)
})

test('what is mounted over it is not it', async () => {
  const { uuid, uuidNow, live } = await made()
  const other = await made()
  await sh('mount', '--bind', '--make-private', other.live, live)
  onTestFinished(async () => void (await sh('umount', live).catch(() => '')))
  expect(await uuidNow()).toBe(other.uuid)
  await sh('umount', live)
  expect(await uuidNow()).toBe(uuid)
})

test('a size given later is told', async () => {
  const { backend, id } = await made()
  await backend.resizing?.resize(id, 64 * 2 ** 20)
  expect((await backend.live(id, { sync: false }))?.sizeBytes).toBe(64 * 2 ** 20)
})
