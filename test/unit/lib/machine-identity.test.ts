import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bindToMachine, readMachineIdentity } from '../../../src/lib/machine-identity.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const machine = async (files: Readonly<Record<string, string>>): Promise<string> => {
  const root = await temporaryDirectory()
  await mkdir(join(root, 'etc'))
  await mkdir(join(root, 'sys/class/dmi/id'), { recursive: true })
  for (const [path, text] of Object.entries(files)) await writeFile(join(root, path), text)
  return readMachineIdentity(root)
}

test('a data directory starts again on its machine, and on another one only when an operator says so', async () => {
  const dataDir = await temporaryDirectory()
  await bindToMachine(dataDir, 'one', false)
  await bindToMachine(dataDir, 'one', false)
  const refused = expect(bindToMachine(dataDir, 'two', false)).rejects
  await refused.toMatchObject({ code: 'MACHINE_CHANGED', message: expect.stringContaining(dataDir) })
  await bindToMachine(dataDir, 'one', false)
  await bindToMachine(dataDir, 'two', true)
  await expect(bindToMachine(dataDir, 'one', false)).rejects.toMatchObject({ code: 'MACHINE_CHANGED' })
  await bindToMachine(dataDir, 'two', false)
  expect(await readdir(dataDir)).toEqual(['machine.json'])
})

test('a machine is told by its id and by its firmware; either may be missing', async () => {
  const of = (id: string, uuid: string) =>
    machine({ 'etc/machine-id': `${id}\n`, 'sys/class/dmi/id/product_uuid': uuid })
  expect(await of('a', 'u')).toBe(await of('a', 'u\n'))
  expect(await of('a', 'u')).not.toBe(await of('b', 'u'))
  expect(await of('a', 'u')).not.toBe(await of('a', 'v'))
  expect(await machine({ 'etc/machine-id': 'a' })).toBe('a ')
  expect(await machine({})).toBe(' ')
})
