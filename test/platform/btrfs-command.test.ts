import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BtrfsCommand } from '../../src/backends/btrfs/btrfs-command.ts'
import { CommandError } from '../../src/lib/exec.ts'
import { exec } from '../contract/backend-bench.ts'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'

/** Every sentence of the programs that btrfs-command.ts gives a meaning to, provoked on the real ones. */
let disk: LoopBtrfs
const command = new BtrfsCommand(exec)
const at = (...parts: string[]) => join(disk.path, ...parts)
beforeAll(async () => {
  disk = await loopBtrfs(256 * 2 ** 20)
  await sh('btrfs', 'subvolume', 'create', at('live'))
  await mkdir(at('plain'))
})
afterAll(() => disk.dispose())

test('absent and not a subvolume: null, a success, or DATASET_MISSING', async () => {
  expect(await command.show(at('none'))).toBeNull()
  expect(await command.show(at('plain'))).toBeNull()
  await command.deleteSubvolume(at('none'))
  const missing = { code: 'DATASET_MISSING' }
  await expect(command.snapshot(at('none'), at('s'), 'read-only')).rejects.toMatchObject(missing)
  await expect(command.snapshot(at('live'), at('none', 's'), 'read-only')).rejects.toMatchObject(missing)
  await expect(command.syncedGeneration(at('none'))).rejects.toMatchObject(missing)
  await expect(command.syncedGeneration(at('plain'))).rejects.toMatchObject(missing)
  await expect(command.sync(at('none'))).rejects.toMatchObject(missing)
  await expect(command.lastChange(at('none'))).rejects.toMatchObject(missing)
  await expect(command.changedSince(at('none'), 1)).rejects.toMatchObject({ code: 'COMMAND_FAILED' })
})

test('what has no meaning of its own keeps its evidence', async () => {
  const failure = await command.createSubvolume(at('live')).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(CommandError)
  expect(failure).toMatchObject({ stderr: expect.stringContaining('target path already exists') })
  await expect(command.deleteSubvolume(at('plain'))).rejects.toMatchObject({ code: 'DATASET_MISSING' })
})

test('the head of a stream names the last change', async () => {
  await command.snapshot(at('live'), at('s'), 'read-only')
  const before = await command.lastChange(at('s'))
  await command.snapshot(at('s'), at('used'), 'writable')
  expect(await command.lastChange(at('s'))).toBe(before)
  expect((await command.show(at('s')))?.generation).toBeGreaterThan(before)
  await expect(command.lastChange(at('live'))).rejects.toThrow()
})

test('quotas off, on, twice; limits; groups gone, there and in use', async () => {
  expect(await command.qgroups(disk.path)).toBeNull()
  expect(await command.limit(at('live'), 2 ** 20)).toBe(false)
  await command.enableQuotas(disk.path)
  await command.enableQuotas(disk.path)
  await command.waitForRescan(disk.path, 30_000)
  expect(await command.limit(at('live'), 2 ** 20)).toBe(true)
  const live = await command.show(at('live'))
  expect(live?.limitBytes).toBe(2 ** 20)
  expect((await command.qgroups(disk.path))?.map((group) => group.subvolumeId)).toContain(live?.id)
  await command.destroyQgroup(disk.path, 99_999)
  await command.destroyQgroup(disk.path, live?.id ?? 0)
  expect(await command.limit(at('live'), null)).toBe(true)
  expect((await command.show(at('live')))?.limitBytes).toBeNull()
})

test('a snapshot inherits the limit of its source', async () => {
  await command.limit(at('live'), 2 ** 20)
  await command.snapshot(at('live'), at('limited'), 'read-only')
  expect((await command.show(at('limited')))?.limitBytes).toBe(2 ** 20)
})

test('unmount: not mounted, busy', async () => {
  expect(await command.unmount(at('plain'))).toBe(false)
  await command.bindMount(at('live'), at('plain'))
  await mkdir(at('plain', 'inner'))
  await command.bindMount(at('live'), at('plain', 'inner'))
  await expect(command.unmount(at('plain'))).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(await command.unmount(at('plain', 'inner'))).toBe(true)
  expect(await command.unmount(at('plain'))).toBe(true)
})

test('without privilege: NOT_PERMITTED', async () => {
  const unprivileged = new BtrfsCommand({
    ...exec,
    run: (argv, options) => exec.run(['setpriv', '--reuid=65534', '--clear-groups', ...argv], options),
  })
  await expect(unprivileged.snapshot(at('live'), at('refused'), 'writable')).rejects.toMatchObject({
    code: 'NOT_PERMITTED',
  })
})

test('no space: NO_SPACE', async () => {
  await command.limit(at('live'), null)
  await sh('sh', '-c', 'dd if=/dev/zero of="$1" bs=1M 2>/dev/null || true; sync -f "$1"', 'sh', at('live', 'fill'))
  let failure: unknown = null
  for (let count = 0; count < 4000 && failure === null; count += 1) {
    failure = await command.createSubvolume(at(`more-${count}`)).then(
      () => null,
      (error: unknown) => error,
    )
  }
  expect(failure).toMatchObject({ code: 'NO_SPACE' })
}, 120_000)

test('a path with a newline is one path', async () => {
  await sh('rm', at('live', 'fill'))
  await sh('btrfs', 'subvolume', 'create', at('live', 'new\nline'))
  expect((await command.list(at('live'), 'below')).map((each) => each.path)).toEqual(['live/new\nline'])
  expect((await command.list(disk.path, 'all')).map((each) => each.path)).toContain('live/new\nline')
})
