import { expect, test } from 'vitest'
import type { SnapshotFacet } from '../../../src/backends/backend.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { Readying } from '../../../src/migrate/readying.ts'

const id = volumeId('v'.repeat(26))

/** Says what was asked for, in order; each is ready when it is told, and then stays so. */
const start = () => {
  const asked: string[] = []
  const ready = { base: Promise.withResolvers<void>(), top: Promise.withResolvers<void>() }
  const facet = {
    prefetch: (_: unknown, name: 'base' | 'top') => {
      asked.push(name)
      return ready[name].promise
    },
  } as unknown as SnapshotFacet
  const readying = new Readying(systemClock)
  return { asked, ready, within: (ms: number) => readying.within(ms, facet, id, ['base', 'top']) }
}

test('who does not wait asks again, and joins what was begun; what goes upon another comes after it', async () => {
  const { asked, ready, within } = start()
  expect(await within(1)).toBe(false)
  expect(await within(1)).toBe(false)
  expect(asked).toEqual(['base'])
  ready.base.resolve()
  expect(await within(5)).toBe(false)
  expect(await within(5)).toBe(false)
  expect(asked.filter((name) => name === 'top')).toEqual(['top'])
  ready.top.resolve()
  expect(await within(60_000)).toBe(true)
})

test('what fails while nobody waits is tried again by who asks', async () => {
  const { asked, ready, within } = start()
  expect(await within(1)).toBe(false)
  ready.base.reject(new Error('full'))
  await new Promise(setImmediate)
  await expect(within(60_000)).rejects.toThrow('full')
  expect(asked).toEqual(['base', 'base'])
})

test('a pool that needs no time for it has it ready', async () => {
  expect(await new Readying(systemClock).within(1, {} as SnapshotFacet, id, ['top'])).toBe(true)
})
