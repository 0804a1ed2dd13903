import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { hasDependents, ZfsCommand } from '../../../src/backends/zfs/zfs-command.ts'
import { exec, raise } from '../../contract/backend-bench.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { type TestZpool, testZpool } from '../../support/zpool.ts'

/** Every pattern of stderr, from the real programs. */
const command = new ZfsCommand(exec)
let pool: TestZpool | null = null
let home = ''
let count = 0

beforeAll(async () => {
  pool = await testZpool()
})
beforeEach(async () => {
  home = `${pool?.dataset ?? raise('no pool')}/t${count++}`
  await command.create(home, { mountpoint: 'legacy' })
})
afterAll(async () => {
  await pool?.dispose()
})

test('the absent', async () => {
  const none = `${home}/none`
  const isMissing = { code: 'DATASET_MISSING' }
  expect(await command.get(none, ['guid'])).toBeNull()
  expect(await command.list(none, ['name'], { types: 'filesystem' })).toBeNull()
  await command.destroy(none)
  await command.destroySnapshot(`${home}@none`)
  await command.destroySnapshot(`${none}@none`)
  await command.destroySnapshot(`${home}#none`)
  await command.release(`${home}@none`, 'x')
  await expect(command.snapshot(`${none}@s`)).rejects.toMatchObject(isMissing)
  await expect(command.rename(none, `${none}x`)).rejects.toMatchObject(isMissing)
  await expect(command.mount(none, await temporaryDirectory())).rejects.toMatchObject(isMissing)
  await expect(command.set(none, { readonly: 'on' })).rejects.toMatchObject(isMissing)
})

test('what is there already', async () => {
  expect(await command.create(home, {})).toBe(false)
  expect(await command.snapshot(`${home}@s`)).toBe(true)
  expect(await command.snapshot(`${home}@s`)).toBe(false)
  for (let again = 0; again < 2; again += 1) {
    await command.hold(`${home}@s`, 'drover')
    await command.bookmark(`${home}@s`, `${home}#s`)
  }
  await command.release(`${home}@s`, 'drover')
  await command.release(`${home}@s`, 'drover')
})

test('what something depends on', async () => {
  await command.snapshot(`${home}@s`)
  await command.hold(`${home}@s`, 'operator')
  await expect(command.destroySnapshot(`${home}@s`)).rejects.toSatisfy(hasDependents)
  await command.release(`${home}@s`, 'operator')
  await command.clone(`${home}@s`, `${home}-clone`, {})
  await expect(command.destroySnapshot(`${home}@s`)).rejects.toSatisfy(hasDependents)
  await expect(command.destroy(home)).rejects.toSatisfy(hasDependents)
  await command.destroySnapshot(`${home}@s`, { whenFree: true })
  await command.destroy(`${home}-clone`)
})

test('the busy, and one that only the kernel still knows', async () => {
  const path = await temporaryDirectory()
  await command.mount(home, path)
  const handle = await open(join(path, 'held'), 'w')
  await expect(command.destroy(home)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await expect(command.unmount(path)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await sh('umount', '--lazy', path)
  await expect(command.mount(home, path, { readOnly: true })).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await handle.close()
  await command.mount(home, path, { readOnly: true })
  expect(await command.unmount(path)).toBe(true)
  expect(await command.unmount(path)).toBe(false)
})
