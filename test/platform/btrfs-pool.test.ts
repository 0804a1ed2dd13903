import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ensureLoopPool } from '../../src/backends/btrfs/loop-pool.ts'
import { createBackend } from '../../src/backends/registry.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { Exec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { exec, newId, recordOf } from '../contract/backend-bench.ts'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'
import { nextLoopRefusesWrites } from '../support/loop-flag.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const mib = 2 ** 20
const backendAt = (where: string) =>
  createBackend({ spec: parsePoolSpec(`btrfs:${where}`), exec, logger: silentLogger, clock: systemClock })

describe('open', () => {
  test('a missing directory, a file, another file system: BAD_CONFIG in one clear line', async () => {
    const directory = await temporaryDirectory()
    const missing = join(directory, 'missing')
    await expect(backendAt(missing).open()).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: `pool btrfs:${missing} does not exist; make the directory on a mounted btrfs, or mount it first`,
    })
    await writeFile(join(directory, 'file'), '')
    await expect(backendAt(join(directory, 'file')).open()).rejects.toMatchObject({ code: 'BAD_CONFIG' })
    await mkdir(join(directory, 'tmpfs'))
    await sh('mount', '-t', 'tmpfs', 'tmpfs', join(directory, 'tmpfs'))
    onTestFinished(async () => void (await sh('umount', join(directory, 'tmpfs'))))
    await expect(backendAt(join(directory, 'tmpfs')).open()).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringContaining('is on tmpfs, not on btrfs'),
    })
  })
})

describe('quotas', () => {
  let disk: LoopBtrfs
  beforeAll(async () => {
    disk = await loopBtrfs()
  })
  afterAll(() => disk.dispose())

  test('come with the first sized volume, and not before', async () => {
    const backend = backendAt(disk.path)
    await backend.open()
    const quotasOn = () =>
      sh('btrfs', 'qgroup', 'show', disk.path).then(
        () => true,
        () => false,
      )
    await backend.create(newId(), { sizeBytes: null })
    expect(await quotasOn()).toBe(false)
    const sized = newId()
    expect((await backend.create(sized, { sizeBytes: 32 * mib })).sizeBytes).toBe(32 * mib)
    expect(await quotasOn()).toBe(true)
    await backend.close()
  })
})

describe('exact usage', () => {
  test('without quotas, on a pool that keeps access times: counted, and no access time set', async () => {
    const disk = await loopBtrfs(2 ** 30, 'strictatime')
    onTestFinished(() => disk.dispose())
    const backend = backendAt(disk.path)
    await backend.open()
    const id = newId()
    await backend.create(id, { sizeBytes: null })
    const file = join(disk.path, 'volumes', id, 'live', 'data', 'file')
    await writeFile(file, Buffer.alloc(5 * mib, 1))
    const directory = join(disk.path, 'volumes', id, 'live', 'data')
    const before = (await stat(directory)).atimeMs
    expect((await backend.usage([id], { exact: true })).get(id)).toBeGreaterThanOrEqual(5 * mib)
    expect((await stat(directory)).atimeMs).toBe(before)
    await backend.close()
  })
})

describe('a full pool', () => {
  test('takes the notes that giving room back needs, and gives it back', async () => {
    const disk = await loopBtrfs(512 * mib)
    onTestFinished(() => disk.dispose())
    const backend = backendAt(disk.path)
    await backend.open()
    await backend.settled()
    const [kept, doomed] = [newId(), newId()]
    for (const volumeId of [kept, doomed]) {
      await backend.writeRecord(recordOf(volumeId, backend))
      await backend.create(volumeId, { sizeBytes: null })
    }
    const fill = (name: string, block: string) =>
      sh('sh', '-c', `dd if=/dev/zero of="$0" bs=${block} 2>/dev/null; sync`, join(disk.path, 'volumes', doomed, name))
    for (const [name, block] of [
      ['live/data/large', '1M'],
      ['live/data/small', '4k'],
    ] as const) {
      await fill(name, block)
    }
    await sh(
      'sh',
      '-c',
      'i=0; while echo full > "$0/$i" 2>/dev/null; do i=$((i+1)); done; sync',
      join(disk.path, 'volumes', doomed, 'live/data'),
    )
    const grown = { ...recordOf(kept, backend), labels: { note: 'x'.repeat(4000) } }
    await backend.writeRecord(grown)
    expect(await backend.readRecord(kept)).toEqual(grown)
    await backend.destroy(doomed)
    await backend.settled()
    expect((await backend.info()).freeBytes).toBeGreaterThan(200 * mib)
    expect(await readdir(join(disk.path, 'trash'))).toEqual([])
    expect((await stat(join(disk.path, 'reserve'))).size).toBeGreaterThan(mib)
    await backend.close()
  }, 120_000)
})

describe('default pool', () => {
  const pool = async () => {
    const dataDir = await temporaryDirectory()
    onTestFinished(async () => {
      await sh('umount', join(dataDir, 'pool')).catch(() => undefined)
    })
    return { dataDir, ensure: () => ensureLoopPool({ dataDir, exec, logger: silentLogger, sizeBytes: 256 * mib }) }
  }

  test('made once; again: as it is; after an unmount: mounted again with what it held', async () => {
    const { dataDir, ensure } = await pool()
    const spec = await ensure()
    expect(spec).toBe(`btrfs:${dataDir}/pool`)
    expect(await ensure()).toBe(spec)
    await writeFile(join(dataDir, 'pool', 'kept'), 'kept')
    await sh('umount', join(dataDir, 'pool'))
    expect(await ensure()).toBe(spec)
    expect(await readFile(join(dataDir, 'pool', 'kept'), 'utf8')).toBe('kept')
    expect((await stat(join(dataDir, 'pool'))).mode & 0o777).toBe(0o700)
    const line = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').find((each) => each.includes(dataDir))
    expect(line).toContain('noatime')
    expect(line).not.toMatch(/ discard|,discard| shared:/)
    const image = await stat(join(dataDir, 'pool.img'))
    expect(image.blocks * 512).toBeGreaterThanOrEqual(256 * mib)
    expect(image.mode & 0o777).toBe(0o600)
  })

  test('a loop device that is attached already is used again', async () => {
    const { dataDir, ensure } = await pool()
    await ensure()
    await sh('umount', join(dataDir, 'pool'))
    const device = (await sh('losetup', '--find', '--show', join(dataDir, 'pool.img'))).trim()
    onTestFinished(async () => void (await sh('losetup', '-d', device).catch(() => undefined)))
    await ensure()
    expect((await sh('losetup', '-j', join(dataDir, 'pool.img'))).trim().split('\n')).toHaveLength(1)
  })

  test('a loop device that somebody left read-only is written all the same', async () => {
    const { dataDir, ensure } = await pool()
    await nextLoopRefusesWrites()
    await ensure()
    await writeFile(join(dataDir, 'pool', 'x'), 'x', { flush: true })
  })

  test('what a crash left half made is made anew; an image that is there is never formatted', async () => {
    const { dataDir, ensure } = await pool()
    await writeFile(join(dataDir, 'pool.img.making'), 'half')
    await ensure()
    await sh('umount', join(dataDir, 'pool'))
    await writeFile(join(dataDir, 'pool.img'), 'no file system')
    await expect(ensure()).rejects.toThrow()
    expect(await readFile(join(dataDir, 'pool.img'), 'utf8')).toBe('no file system')
  })

  test('no space: NO_SPACE, nothing left behind', async () => {
    const dataDir = await temporaryDirectory()
    await sh('mount', '-t', 'tmpfs', '-o', 'size=100m', 'tmpfs', dataDir)
    onTestFinished(async () => void (await sh('umount', dataDir)))
    const make = (sizeBytes?: number) =>
      ensureLoopPool({ dataDir, exec, logger: silentLogger, ...(sizeBytes === undefined ? {} : { sizeBytes }) })
    await expect(make()).rejects.toMatchObject({ code: 'NO_SPACE', message: expect.stringMatching(/free .* needed/) })
    await expect(make(200 * mib)).rejects.toMatchObject({ code: 'NO_SPACE' })
    await expect(stat(join(dataDir, 'pool.img'))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(stat(join(dataDir, 'pool.img.making'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

test('a snapshot is dated from before its making: what was written meanwhile is not older than it', async () => {
  const disk = await loopBtrfs()
  onTestFinished(() => disk.dispose())
  let madeAt = Number.NaN
  const slow: Exec = {
    ...exec,
    run: async (argv, options) => {
      if (!argv.includes('snapshot')) return exec.run(argv, options)
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      madeAt = Date.now()
      return exec.run(argv, options)
    },
  }
  const spec = parsePoolSpec(`btrfs:${disk.path}`)
  const backend = createBackend({ spec, exec: slow, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(() => backend.close())
  const id = newId()
  await backend.writeRecord(recordOf(id, backend))
  await backend.create(id, { sizeBytes: null })
  const made = await backend.snapshots?.create(id, 's1', 'move')
  expect(Date.parse(made?.createdAt ?? '')).toBeLessThan(madeAt)
  expect(await backend.snapshots?.list(id)).toMatchObject([{ name: 's1', createdAt: made?.createdAt }])
})
