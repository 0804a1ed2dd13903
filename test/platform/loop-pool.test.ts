import { appendFile, copyFile, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { Backend } from '../../src/backends/backend.ts'
import { FileSystems } from '../../src/backends/block/file-systems.ts'
import { MountCommand } from '../../src/backends/block/mount-command.ts'
import { createBackend } from '../../src/backends/registry.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, mib, newId, recordOf } from '../contract/backend-bench.ts'
import { sh } from '../support/loop-btrfs.ts'
import { type LoopDisk, loopDisk } from '../support/loop-disk.ts'
import { nextLoopRefusesWrites } from '../support/loop-flag.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const backendAt = (where: string) =>
  createBackend({ spec: parsePoolSpec(`loop:${where}`), exec, logger: silentLogger, clock: systemClock })

let disk: LoopDisk
let backend: Backend
beforeAll(async () => {
  disk = await loopDisk('xfs')
})
afterAll(() => disk?.dispose())
beforeEach(async () => {
  backend = backendAt(disk.path)
  await backend.open()
  onTestFinished(() => backend.close())
})

/** A volume with its record, gone with the test. */
const made = async (on = backend, sizeBytes: number | null = 64 * mib): Promise<VolumeId> => {
  const id = newId()
  await on.writeRecord(recordOf(id, on))
  await on.create(id, { sizeBytes })
  onTestFinished(async () => {
    await on.destroy(id)
    await on.settled()
  })
  return id
}

/** Mounted until the test ends. */
const mounted = async (id: VolumeId, on = backend): Promise<string> => {
  const path = join(await temporaryDirectory(), 'mnt')
  await on.mount(id, path)
  onTestFinished(() => on.unmount(id, path))
  return path
}

const deviceOf = async (id: VolumeId): Promise<string> => {
  const note = JSON.parse(await readFile(join(disk.path, 'volumes', id, 'live.json'), 'utf8'))
  return join(disk.path, 'devices', note.device)
}

describe('a pool that cannot be one', () => {
  test.each([
    ['relative', 'is not an absolute path'],
    ['/no/such/place', 'does not exist'],
    ['/etc/hostname', 'is not a directory'],
    ['/dev/shm', 'is neither on xfs nor on ext4'],
  ])('%s: BAD_CONFIG', async (where, says) => {
    await expect(backendAt(where).open()).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringContaining(says),
    })
  })

  test('an option that is none: BAD_CONFIG', () => {
    expect(() => backendAt('/srv?fs=btrfs')).toThrow(expect.objectContaining({ code: 'BAD_CONFIG' }))
  })

  test('a volume too small for a file system: BAD_SIZE, nothing made', async () => {
    const before = await readdir(join(disk.path, 'devices'))
    await expect(backend.create(newId(), { sizeBytes: mib })).rejects.toMatchObject({ code: 'BAD_SIZE' })
    expect(await readdir(join(disk.path, 'devices'))).toEqual(before)
  })
})

describe('what is not blank', () => {
  const format = async (bytes: Buffer): Promise<unknown> => {
    const path = join(await temporaryDirectory(), 'device')
    await writeFile(path, bytes)
    const formatting = new FileSystems(exec).format('ext4', path, bytes.length, join(disk.path, 'template'))
    const failure = await formatting.then(
      () => null,
      (error: unknown) => error,
    )
    expect((await readFile(path)).equals(bytes)).toBe(true)
    return failure
  }

  test('is never formatted: bytes at the start, at the end, a signature', async () => {
    const at = (offset: number) => {
      const bytes = Buffer.alloc(16 * mib)
      bytes.writeUInt8(1, offset)
      return bytes
    }
    const swap = Buffer.alloc(16 * mib)
    swap.write('SWAPSPACE2', 4086)
    for (const bytes of [at(0), at(16 * mib - 1), swap]) {
      expect(await format(bytes)).toMatchObject({ code: 'DATASET_FOREIGN' })
    }
  })

  test('a note whose device is gone: nothing is made in its place', async () => {
    const id = await made()
    const device = await deviceOf(id)
    await copyFile(device, `${device}.away`)
    await rm(device)
    expect(await backend.live(id)).toBeNull()
    await expect(backend.create(id, { sizeBytes: null })).rejects.toMatchObject({ code: 'DATASET_MISSING' })
    await expect(stat(device)).rejects.toMatchObject({ code: 'ENOENT' })
    await rm(`${device}.away`)
  })
})

describe('loop devices that refuse writes', () => {
  test('whoever left one so, a volume on it is written', async () => {
    const id = await made()
    await nextLoopRefusesWrites()
    const path = await mounted(id)
    await writeFile(join(path, 'data', 'x'), 'x', { flush: true })
    expect(await readFile(join(path, 'data', 'x'), 'utf8')).toBe('x')
  })

  test('what mount(8) mounts read-only without a word is refused, and nothing stays mounted', async () => {
    const id = await made()
    const source = await deviceOf(id)
    const path = await temporaryDirectory()
    await nextLoopRefusesWrites()
    const command = new MountCommand(exec, { mountSource: async () => ({ source, options: ['loop'] }) })
    await expect(command.mount('device', 'ext4', 'writable', path)).rejects.toMatchObject({
      code: 'COMMAND_FAILED',
      message: expect.stringContaining('takes no writes'),
    })
    expect(await readdir(path)).toEqual([])
    await command.mount('device', 'ext4', 'view', path)
    expect(await readdir(path)).toContain('data')
    await command.unmount(path)
  })
})

describe('freezing', () => {
  test('what a crash left frozen writes again after the next start', async () => {
    const id = await made()
    const path = await mounted(id)
    await writeFile(join(disk.path, 'volumes', id, 'frozen'), '')
    await sh('fsfreeze', '--freeze', path)
    const again = backendAt(disk.path)
    await again.open()
    await writeFile(join(path, 'data', 'x'), 'x')
    expect(await readdir(join(disk.path, 'volumes', id))).not.toContain('frozen')
    await again.close()
  })

  test('what an administrator froze stays frozen, and is told', async () => {
    const id = await made()
    const path = await mounted(id)
    await sh('fsfreeze', '--freeze', path)
    try {
      const again = backendAt(disk.path)
      await again.open()
      await again.close()
      await expect(sh('fsfreeze', '--freeze', path)).rejects.toThrow('busy')
    } finally {
      await sh('fsfreeze', '--unfreeze', path)
    }
  })

  test('a snapshot under a writer is whole, and the writer goes on', async () => {
    const id = await made()
    const path = await mounted(id)
    let isOver = false
    let count = 0
    const writing = (async () => {
      for (; !isOver; count += 1) await appendFile(join(path, 'data', 'log'), `${count}\n`, { flush: true })
    })()
    const logs: string[] = []
    for (const name of ['a', 'b', 'c']) {
      await backend.snapshots?.create(id, name, 'user')
      const text = await backend.snapshots?.withPath(id, name, (at) => readFile(join(at, 'data', 'log'), 'utf8'))
      logs.push(text ?? '')
    }
    const before = count
    await expect.poll(() => count).toBeGreaterThan(before)
    isOver = true
    await writing
    for (const log of logs) {
      const lines = log.trimEnd().split('\n').map(Number)
      expect(lines).toEqual(Array.from({ length: lines.length }, (_, index) => index))
    }
  })
})

test('a snapshot of what a power cut left shows what was synced, and its journal is replayed once', async () => {
  const id = await made()
  const path = join(await temporaryDirectory(), 'mnt')
  await backend.mount(id, path)
  await writeFile(join(path, 'data', 'synced'), 'synced', { flush: true })
  await sh('xfs_io', '-x', '-c', 'shutdown -f', path)
  await backend.unmount(id, path)
  await backend.snapshots?.create(id, 's', 'move')
  const read = (at: string) => readFile(join(at, 'data', 'synced'), 'utf8')
  expect(await backend.snapshots?.withPath(id, 's', read)).toBe('synced')
  expect(await backend.snapshots?.unchangedSince(id, 's')).toBe(true)
})

test('a file on two loop devices that write would be torn: refused', async () => {
  const id = await made()
  const device = await deviceOf(id)
  const loops = [await sh('losetup', '--find', '--show', device), await sh('losetup', '--find', '--show', device)]
  try {
    const path = join(await temporaryDirectory(), 'mnt')
    await expect(backend.mount(id, path)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    await expect(backend.destroy(id)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
    await expect(backend.snapshots?.create(id, 's', 'move')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  } finally {
    for (const loop of loops) await sh('losetup', '--detach', loop.trim())
  }
})

test('xfs in a volume: mounted, snapshots beside it, grown while mounted, promoted', async () => {
  const small = await loopDisk('xfs', 2 ** 31)
  onTestFinished(() => small.dispose())
  const on = backendAt(`${small.path}?fs=xfs`)
  await on.open()
  const id = newId()
  await on.writeRecord(recordOf(id, on))
  await on.create(id, { sizeBytes: 320 * mib })
  const path = join(await temporaryDirectory(), 'mnt')
  await on.mount(id, path)
  await writeFile(join(path, 'data', 'x'), 'x')
  await on.snapshots?.create(id, 's', 'move')
  expect(await on.snapshots?.withPath(id, 's', (at) => readFile(join(at, 'data', 'x'), 'utf8'))).toBe('x')
  expect(await on.snapshots?.unchangedSince(id, 's')).toBe(true)
  await on.resizing?.resize(id, 400 * mib)
  expect(Number(await sh('stat', '-f', '-c', '%b', path)) * 4096).toBeGreaterThan(320 * mib)
  await on.unmount(id, path)
  await on.destroyLive(id)
  await on.streams?.promote(id, 's', { sizeBytes: null })
  await on.mount(id, path)
  expect(await readFile(join(path, 'data', 'x'), 'utf8')).toBe('x')
  await on.unmount(id, path)
  await on.destroy(id)
  await on.settled()
  await on.close()
})

test('a full pool: the writer gets an error, what was synced is whole, notes are still taken, room comes back', async () => {
  const small = await loopDisk('xfs', 512 * mib)
  onTestFinished(() => small.dispose())
  const on = backendAt(small.path)
  await on.open()
  await on.settled()
  const [kept, doomed] = [newId(), newId()]
  for (const id of [kept, doomed]) {
    await on.writeRecord(recordOf(id, on))
    await on.create(id, { sizeBytes: null })
  }
  const path = join(await temporaryDirectory(), 'mnt')
  await on.mount(kept, path)
  await writeFile(join(path, 'data', 'synced'), Buffer.alloc(4 * mib, 5), { flush: true })
  await sh('sh', '-c', 'dd if=/dev/zero of="$0" bs=1M 2>/dev/null; sync', join(small.path, 'ballast'))
  const writing = writeFile(join(path, 'data', 'more'), Buffer.alloc(64 * mib, 6), { flush: true })
  await expect(writing).rejects.toMatchObject({ errno: expect.toSatisfy((errno) => [-5, -28, -30].includes(errno)) })
  const grown = { ...recordOf(kept, on), labels: { note: 'x'.repeat(4000) } }
  await on.writeRecord(grown)
  expect(await on.readRecord(kept)).toEqual(grown)
  await on.destroy(doomed)
  await on.settled()
  await on.unmount(kept, path)
  await rm(join(small.path, 'ballast'))
  await on.mount(kept, path)
  expect((await readFile(join(path, 'data', 'synced'))).equals(Buffer.alloc(4 * mib, 5))).toBe(true)
  await writeFile(join(path, 'data', 'again'), 'x', { flush: true })
  await on.unmount(kept, path)
  await on.destroy(kept)
  await on.settled()
  await on.close()
  expect(await readdir(join(small.path, 'devices'))).toEqual([])
})
