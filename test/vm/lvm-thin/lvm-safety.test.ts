import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Backend, SnapshotFacet, StreamFacet } from '../../../src/backends/backend.ts'
import { LoopBackend } from '../../../src/backends/block/loop.ts'
import { parseThinPool } from '../../../src/backends/block/lvm/names.ts'
import { ThinDevices } from '../../../src/backends/block/lvm/thin-devices.ts'
import { LvmThinBackend } from '../../../src/backends/block/lvm-thin.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec, mib, newId, raise, recordOf } from '../../contract/backend-bench.ts'
import { realHands } from '../../contract/hands.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { loopDisk } from '../../support/loop-disk.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { type TestThinPool, testThinPool } from '../../support/thin-pool.ts'

let pool: TestThinPool
let mapped: string
/** Undone before the pool goes, the last first. */
const undo: (() => Promise<void>)[] = []
beforeEach(async () => {
  pool = await testThinPool(512)
  mapped = `${pool.group.replaceAll('-', '--')}-thin--pool-tpool`
})
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
  await pool.dispose()
})

const on = (text: string): Backend => {
  const spec = parsePoolSpec(text)
  const Kind = spec.kind === 'loop' ? LoopBackend : LvmThinBackend
  return new Kind({ spec, exec, logger: silentLogger, clock: systemClock })
}

const opened = async (options = ''): Promise<Backend> => {
  const backend = on(`lvm:${pool.where}${options}`)
  await backend.open()
  undo.push(() => backend.close())
  return backend
}

const made = async (backend: Backend, sizeBytes: number | null): Promise<VolumeId> => {
  const id = newId()
  await backend.writeRecord(recordOf(id, backend))
  await backend.create(id, { sizeBytes })
  return id
}

const mounted = async (backend: Backend, id: VolumeId): Promise<string> => {
  const path = join(await temporaryDirectory(), 'mnt')
  await backend.mount(id, path)
  undo.push(() => backend.unmount(id, path))
  return join(path, 'data')
}

const snapshotsOf = (backend: Backend): SnapshotFacet => backend.snapshots ?? raise('no snapshots')
const streamsOf = (backend: Backend): StreamFacet => backend.streams ?? raise('no streams')
const heldBy = async () => (await sh('dmsetup', 'status', mapped)).split(' ')[6]

test('a full pool: writers get an error and do not hang, notes find room, and what is removed is there again', async () => {
  const backend = await opened()
  const [id, other] = [await made(backend, null), await made(backend, 32 * mib)]
  const data = await mounted(backend, id)
  const file = await open(join(data, 'big'), 'w')
  const fill = async () => {
    for (;;) {
      await file.writeFile(Buffer.alloc(8 * mib, 1))
      await file.sync()
    }
  }
  await expect(fill()).rejects.toMatchObject({ code: expect.stringMatching(/^(EIO|ENOSPC|EROFS)$/) })
  await file.close().catch(() => undefined)
  expect((await backend.info()).freeBytes).toBe(0)
  await backend.writeRecord({ ...recordOf(other, backend), epoch: 7 })
  expect((await backend.readRecord(other))?.epoch).toBe(7)
  await backend.unmount(id, join(data, '..'))
  await backend.destroy(id)
  await backend.settled()
  expect((await backend.info()).freeBytes).toBeGreaterThan(300 * mib)
  await realHands.writeFile(join(await mounted(backend, other), 'x'), Buffer.alloc(8 * mib, 2), { flush: true })
})

test('a pool that would keep its writers waiting is refused', async () => {
  await sh('lvchange', '-q', '--errorwhenfull', 'n', pool.where)
  await expect(opened()).rejects.toMatchObject({
    code: 'BAD_CONFIG',
    message: expect.stringContaining('errorwhenfull'),
  })
  for (const absent of [`${pool.group}/other`, 'no-such-group/thin']) {
    await expect(on(`lvm:${absent}`).open()).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(/^pool lvm:\S+ does not exist; make it: .*$/),
    })
  }
})

test('a metadata snapshot that a crash left is given back; one of somebody else is left alone and named', async () => {
  const backend = await opened()
  const id = await made(backend, 16 * mib)
  await sh('dmsetup', 'message', mapped, '0', 'reserve_metadata_snap')
  await expect(snapshotsOf(backend).create(id, 's', 'move')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await opened()
  expect(await heldBy()).not.toBe('-')
  await writeFile(join(pool.notes, 'metadata-snapshot'), '')
  await opened()
  expect(await heldBy()).toBe('-')
  expect(await readdir(pool.notes)).not.toContain('metadata-snapshot')
  await snapshotsOf(backend).create(id, 's', 'move')
})

test('a device that a killed command left suspended goes on after a start; after a boot everything is there', async () => {
  const backend = await opened()
  const id = await made(backend, 16 * mib)
  const snapshot = await snapshotsOf(backend).create(id, 's', 'move')
  const { device } = JSON.parse(await readFile(join(pool.notes, 'volumes', id, 'live.json'), 'utf8'))
  await sh('dmsetup', 'suspend', `${pool.group}/drover.${device}`.replaceAll('-', '--').replace('/', '-'))
  await opened()
  const data = await mounted(backend, id)
  await realHands.writeFile(join(data, 'x'), 'x', { flush: true })
  await backend.unmount(id, join(data, '..'))
  await backend.close()
  await sh('umount', pool.notes)
  await sh('vgchange', '-q', '-an', pool.group)
  await sh('lvchange', '-q', '-ay', pool.where)
  const again = await opened()
  expect(await snapshotsOf(again).intact(id, snapshot)).toBe(true)
  expect(await realHands.readdir(await mounted(again, id))).toEqual(['x'])
})

test('devices without the volume of notes: refused, nothing made', async () => {
  const backend = await opened()
  await made(backend, 16 * mib)
  await sh('umount', pool.notes)
  await sh('lvchange', '-q', '--deltag', 'drover.notes', `${pool.group}/drover.thin-pool.notes`)
  await expect(opened()).rejects.toMatchObject({ code: 'BAD_CONFIG', message: expect.stringContaining('notes') })
  await sh('lvchange', '-q', '--addtag', 'drover.notes', `${pool.group}/drover.thin-pool.notes`)
  await opened()
})

test('what was cut off a device does not show again when it grows', async () => {
  await opened()
  const devices = new ThinDevices(parseThinPool(parsePoolSpec(`lvm:${pool.where}`)), exec, silentLogger)
  const device = `${newId()}.00000000-0000-4000-8000-000000000000`
  await devices.create(device, 16 * mib)
  await writeFile(await devices.path(device), Buffer.alloc(16 * mib, 1), { flag: 'r+', flush: true })
  await devices.shrink(device, 8 * mib)
  await devices.grow(device, 16 * mib)
  await devices.sync(device)
  const bytes = await readFile(await devices.path(device))
  expect(bytes.equals(Buffer.concat([Buffer.alloc(8 * mib, 1), Buffer.alloc(8 * mib)]))).toBe(true)
})

test('xfs, from a loop pool to a thin one and on: two copies mounted on one host, sizes rounded to the extent', async () => {
  const disk = await loopDisk('xfs')
  undo.push(() => disk.dispose())
  const from = on(`loop:${disk.path}?fs=xfs`)
  await from.open()
  undo.push(() => from.close())
  const to = await opened('?fs=xfs')
  const id = await made(from, 322 * mib)
  await to.writeRecord(recordOf(id, to))
  const data = await mounted(from, id)
  await realHands.plantTree(data)
  const carry = async (name: string, base: string | null, baseUuid: string | null) => {
    const sent = await snapshotsOf(from).create(id, name, 'move')
    const receive = await streamsOf(to).prepareReceive(id, 'move1', baseUuid)
    const { codes } = await realHands.pipe(await streamsOf(from).sendCommand(id, name, base), receive)
    expect(codes).toEqual([0, 0])
    await streamsOf(to).finishReceive(id, 'move1', name, sent.streamUuid)
    return sent.streamUuid
  }
  const base = await carry('s1', null, null)
  await realHands.writeFile(join(data, 'more'), Buffer.alloc(mib, 7))
  await carry('s2', 's1', base)
  await streamsOf(to).promote(id, 's2', { sizeBytes: 322 * mib })
  const there = await mounted(to, id)
  expect(await realHands.describeTree(there)).toBe(await realHands.describeTree(data))
  await realHands.writeFile(join(there, 'own'), 'x', { flush: true })
})
