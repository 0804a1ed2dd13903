import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Layout } from '../../../src/backends/btrfs/layout.ts'
import { Records } from '../../../src/backends/records.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

test('a record that a crash left half written is gone when the pool is opened, all else stays', async () => {
  const layout = new Layout(await temporaryDirectory())
  const home = layout.volume(volumeId('v'.repeat(26)))
  mkdirSync(home, { recursive: true })
  mkdirSync(join(layout.volumes, 'foreign'))
  const half = 'volume.json.tmp-146-30'
  for (const name of ['volume.json', half]) writeFileSync(join(home, name), '{')
  writeFileSync(join(layout.volumes, 'foreign', half), '{')
  await new Records(layout).tidy()
  expect(readdirSync(home)).toEqual(['volume.json'])
  expect(readdirSync(join(layout.volumes, 'foreign'))).toEqual([half])
})
