import { expect, test } from 'vitest'
import { fits, parseCreateOptions } from '../../../src/volumes/create-options.ts'

test('labels are given as one option, several after commas', () => {
  expect(parseCreateOptions({ label: 'app=shop' })).toEqual({ labels: { app: 'shop' } })
  expect(parseCreateOptions({ label: 'app=shop,note=a=b,empty=', size: '1G' })).toEqual({
    labels: { app: 'shop', note: 'a=b', empty: '' },
    sizeBytes: 2 ** 30,
  })
})

test.each(['app', '=x', '', 'a=b,,c=d'])('a label that is none is refused: %j', (label) => {
  expect(() => parseCreateOptions({ label })).toThrow(/label=KEY=VALUE/)
})

test('labels do not decide whether a second create is the same', () => {
  expect(fits(parseCreateOptions({ label: 'app=shop' }), {})).toBe(true)
  expect(fits(parseCreateOptions({ label: 'app=shop', size: '1G' }), { size: String(2 ** 31) })).toBe(false)
})
