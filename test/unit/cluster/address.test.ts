import { expect, test } from 'vitest'
import { parseAddress } from '../../../src/cluster/address.ts'

test('addresses are a host and a port', () => {
  expect(parseAddress('10.0.0.1:7460')).toEqual({ host: '10.0.0.1', port: 7460 })
  expect(parseAddress('db-1.lan:1')).toEqual({ host: 'db-1.lan', port: 1 })
  expect(parseAddress('[fd00::1]:65535')).toEqual({ host: 'fd00::1', port: 65_535 })
})

test('everything else is refused', () => {
  for (const text of [
    '',
    'host',
    'host:',
    ':1',
    'host:0',
    'host:65536',
    'fd00::1:7460',
    'a b:1',
    'h:1/x',
    '[]:1',
    'h:1 ',
  ]) {
    expect(() => parseAddress(text), text).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
  }
})
