import { expect, test } from 'vitest'
import { hasCode } from '../../../src/domain/errors.ts'
import { EndedProofs } from '../../../src/migrate/verification/ended-proofs.ts'

const idOf = (count: number) => `m${String(count).padStart(25, '0')}`

test('the proof of a move that has ended is not begun again by a late call; vol verify may come back', () => {
  const over = new EndedProofs()
  over.check(idOf(1))
  over.add(idOf(1))
  over.add(`verify.${idOf(1)}.${idOf(2)}`)
  over.check(`verify.${idOf(1)}.${idOf(2)}`)
  expect(() => over.check(idOf(1))).toThrow(expect.toSatisfy((error) => hasCode(error, 'STALE_EPOCH')))
  for (let count = 2; count < 300; count += 1) over.add(idOf(count))
  over.check(idOf(1))
})
