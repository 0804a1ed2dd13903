import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { costOf, readPrices } from '../../../src/control/price-file.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const whole = 'currency = "USD"\nsnapshot_gib_month = 0.05\nvolume_gib_month = 0.08\n'
const use = {
  ...{ apiCalls: 40, snapshotBytes: 100 * 2 ** 30, snapshotGibMonths: 3.2877, volumeGibMonths: 0.0342 },
  transferBytes: 10 * 2 ** 30,
}

test('what a move costs, by the prices that the operator wrote down; without any nothing is said', async () => {
  const directory = await temporaryDirectory()
  const path = join(directory, 'prices.toml')
  await writeFile(path, whole)
  expect(costOf(use, await readPrices(path))).toEqual({ amount: 0.1672, currency: 'USD' })
  await writeFile(path, `${whole}transfer_gib = 0.02\nthousand_api_calls = 0.01\n`)
  expect(costOf(use, await readPrices(path))).toEqual({ amount: 0.3676, currency: 'USD' })
  expect(costOf(use, null)).toBeNull()
})

test.each([
  ['', 'currency'],
  [whole.replace('USD', 'dollars'), 'currency is three capital letters, such as USD'],
  [whole.replace('0.05', '"cheap"'), 'snapshot_gib_month'],
  [whole.replace('0.08', '-1'), 'volume_gib_month'],
  [`${whole}gb = 1\n`, 'gb'],
  ['currency', 'cannot be used'],
])('a price file with a mistake is told in one line, by its name (%#)', async (text, named) => {
  const directory = await temporaryDirectory()
  const path = join(directory, 'prices.toml')
  await writeFile(path, text)
  const error: Error = await readPrices(path).then(
    () => expect.fail('it was taken'),
    (thrown) => thrown,
  )
  expect(error).toMatchObject({ code: 'BAD_CONFIG' })
  expect(error.message).toContain(path)
  expect(error.message).toContain(named)
  expect(error.message).not.toContain('\n')
  await expect(readPrices(join(directory, 'none'))).rejects.toMatchObject({ code: 'BAD_CONFIG' })
})
