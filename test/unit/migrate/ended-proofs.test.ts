import { expect, test } from 'vitest'
import { EndedProofs } from '../../../src/migrate/verification/ended-proofs.ts'
import { memoryHost } from '../../support/memory-host.ts'

const idOf = (count: number) => `m${String(count).padStart(25, '0')}`

test('the proof of a move that has ended is not begun again by a late call, be it after a restart; vol verify may come back', async () => {
  const { files } = await memoryHost()
  const path = '/data/verifications/ended.json'
  const over = new EndedProofs(files, path)
  const work = () => 'begun'
  expect(await over.unlessEnded(idOf(1), work)).toBe('begun')
  await over.add(idOf(1))
  await over.add(`verify.${idOf(1)}.${idOf(2)}`)
  expect(await over.unlessEnded(`verify.${idOf(1)}.${idOf(2)}`, work)).toBe('begun')
  await expect(over.unlessEnded(idOf(1), work)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  const restarted = new EndedProofs(files, path)
  await expect(restarted.unlessEnded(idOf(1), work)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  for (let count = 2; count < 300; count += 1) await restarted.add(idOf(count))
  expect(await restarted.unlessEnded(idOf(1), work)).toBe('begun')
})
