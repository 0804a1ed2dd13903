import { expect, test } from 'vitest'
import { Insistence } from '../../../src/control/insistence.ts'
import { systemClock } from '../../../src/lib/clock.ts'

const turns = () => new Promise((resolve) => setTimeout(resolve, 20))

test('a run that something slow holds up does not keep the next ones', async () => {
  const slow = Promise.withResolvers<boolean>()
  const third = Promise.withResolvers<void>()
  let runs = 0
  const insistence = new Insistence(systemClock, 1, async () => {
    runs += 1
    if (runs === 3) third.resolve()
    return runs === 1 ? slow.promise : false
  })
  insistence.wish()
  await third.promise
  slow.resolve(false)
  insistence.close()
})

test('it ends when a run finds everything done, but not for what was wished since that run began', async () => {
  const first = Promise.withResolvers<boolean>()
  const second = Promise.withResolvers<void>()
  let runs = 0
  let left = 1
  const insistence = new Insistence(systemClock, 1, async () => {
    runs += 1
    if (runs === 1) return first.promise
    second.resolve()
    return left === 0
  })
  insistence.wish()
  while (runs === 0) await turns()
  insistence.wish()
  first.resolve(true)
  await second.promise
  left = 0
  await turns()
  const after = runs
  await turns()
  expect(runs).toBe(after)
  insistence.close()
})

test('closed, it runs no more', async () => {
  let runs = 0
  const insistence = new Insistence(systemClock, 1, async () => {
    runs += 1
    return false
  })
  insistence.wish()
  insistence.close()
  insistence.wish()
  await turns()
  expect(runs).toBe(0)
})
