import { expect, onTestFinished, test } from 'vitest'
import { ZfsBackend } from '../../../src/backends/zfs/zfs-backend.ts'
import { checkDatasetOptions } from '../../../src/domain/dataset-options.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { exec, newId, recordOf } from '../../contract/backend-bench.ts'
import { realHands } from '../../contract/hands.ts'
import { sh } from '../../support/loop-btrfs.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { testZpool } from '../../support/zpool.ts'

const opened = async (properties: Readonly<Record<string, string>> = {}) => {
  const pool = await testZpool(properties)
  const spec = parsePoolSpec(`zfs:${pool.dataset}`)
  const backend = new ZfsBackend({ spec, exec, logger: silentLogger, clock: systemClock })
  await backend.open()
  onTestFinished(async () => {
    await backend.close()
    await pool.dispose()
  })
  return { backend, dataset: pool.dataset }
}

const read = async (dataset: string): Promise<string> =>
  (await sh('zfs', 'get', '-H', '-o', 'value', 'recordsize,compression', dataset)).trim().replace('\n', ' ')

test('every choice is one that ZFS knows; what is given goes before a profile; a promoted copy is made alike', async () => {
  const { backend, dataset } = await opened()
  const made = async (options: Readonly<Record<string, string>>) => {
    const id = newId()
    await backend.writeRecord(recordOf(id, backend))
    await backend.create(id, { sizeBytes: null, options: checkDatasetOptions(options) })
    return id
  }
  const live = (id: string) => `${dataset}/${id}/live`
  expect(await read(live(await made({})))).toBe('128K off')
  expect(await read(live(await made({ profile: 'mysql' })))).toBe('16K lz4')
  const id = await made({ profile: 'postgresql', compression: 'zstd' })
  expect(await read(live(id))).toBe('32K zstd')
  for (const [recordsize, compression] of [
    ['4K', 'off'],
    ['1M', 'lz4'],
  ] as const) {
    expect(await read(live(await made({ recordsize, compression })))).toBe(`${recordsize} ${compression}`)
  }
  await backend.snapshots.create(id, 's', 'user')
  await backend.destroyLive(id)
  await backend.streams.promote(id, 's', { sizeBytes: null, options: { recordsize: '8K' } })
  expect(await read(live(id))).toBe('8K off')
})

test('encryption is as the pool has it: another wish is refused in one line', async () => {
  const plain = await opened()
  const key = `${await temporaryDirectory()}/key`
  await realHands.writeFile(key, 'k'.repeat(32))
  const sealed = await opened({ encryption: 'on', keyformat: 'raw', keylocation: `file://${key}` })
  await plain.backend.options.check({ encryption: 'off' })
  await sealed.backend.options.check({ encryption: 'on' })
  for (const [{ backend }, encryption] of [
    [plain, 'on'],
    [sealed, 'off'],
  ] as const) {
    await expect(backend.options.check({ encryption })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringMatching(/^pool zfs:\S+ is .*leave the option out$/),
    })
  }
})
