import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { notedStore } from '../../../src/control/noted-store.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const openIn = async (note: Parameters<typeof notedStore>[1]) => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  return notedStore(store, note)
}

test('an ownership write is noted before its answer; what is none is not', async () => {
  const noted: number[] = []
  const store = await openIn(async ({ commitSequence }) => {
    noted.push(commitSequence)
    return 'current'
  })
  await store.insertVolume(volumeRow(1))
  await store.appendEvent('2026-11-24T00:00:00.000Z', 'volume.created', {})
  await store.volumes()
  expect(noted).toEqual([(await store.identity()).commitSequence])
})

test('a write upon a store that is behind is not acted upon', async () => {
  const store = await openIn(async () => 'behind')
  await expect(store.insertVolume(volumeRow(1))).rejects.toMatchObject({ code: 'STORE_BEHIND' })
})
