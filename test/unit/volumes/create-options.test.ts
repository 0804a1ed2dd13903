import { expect, test } from 'vitest'
import { volumeId } from '../../../src/domain/ids.ts'
import { fits, parseCreateOptions } from '../../../src/volumes/create-options.ts'
import { createVolume } from '../../../src/volumes/lifecycle.ts'
import { memoryHost } from '../../support/memory-host.ts'

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

test('options of the dataset are checked against a short list, and decide whether a second create is the same', () => {
  const wanted = parseCreateOptions({ profile: 'postgresql', compression: 'zstd', size: '1G' })
  expect(wanted).toEqual({ sizeBytes: 2 ** 30, options: { profile: 'postgresql', compression: 'zstd' } })
  expect(fits(wanted, { size: String(2 ** 30), profile: 'postgresql', compression: 'zstd' })).toBe(true)
  expect(fits(wanted, { size: String(2 ** 30), compression: 'zstd' })).toBe(false)
})

test.each([
  [{ compresion: 'zstd' }, 'UNKNOWN_OPTION', /"compresion" does not exist; the options are size, .*compression/],
  [
    { compression: 'zstd-fast' },
    'BAD_REQUEST',
    /^option compression cannot be "zstd-fast"; use one of off, lz4, zstd$/,
  ],
  [{ recordsize: '17K' }, 'BAD_REQUEST', /^option recordsize cannot be "17K"; use one of 4K, /],
  [{ profile: 'constructor' }, 'BAD_REQUEST', /^option profile cannot be /],
] as const)('an option that is none is refused in one line: %j', (options, code, message) => {
  expect(() => parseCreateOptions(options)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  )
})

test('a pool that has no options refuses them, and nothing is made', async () => {
  const { host, backend } = await memoryHost()
  const id = volumeId('v'.repeat(26))
  const command = { volumeId: id, name: 'db', pool: backend.spec.text, epoch: 1, sizeBytes: null, labels: {} }
  await expect(createVolume(host, { ...command, options: { compression: 'zstd' } })).rejects.toMatchObject({
    code: 'UNKNOWN_OPTION',
    message: `pool ${backend.spec.text} has no option compression, only ZFS pools have; leave it out, or use another pool`,
  })
  expect(await host.held(id)).toBeNull()
})
