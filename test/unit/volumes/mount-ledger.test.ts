import { expect, test } from 'vitest'
import { volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { MountLedger } from '../../../src/volumes/mount-ledger.ts'

const id = volumeId('01m856xtx8818s8db087r8fpna')

const ledger = () => {
  let now = 0
  const made = new MountLedger({ ...systemClock, monotonic: () => now })
  return { ledger: made, pass: (ms: number) => (now += ms) }
}

test('a container is expected from the answer to its Mount until its Unmount, and for a while', () => {
  const { ledger: mounts, pass } = ledger()
  expect(mounts.expects(id)).toBe(false)
  mounts.add(id, 'a')
  expect(mounts.expects(id)).toBe(true)
  expect(mounts.expectedWithin(id, 1000)).toBe(true)
  pass(1001)
  expect(mounts.expectedWithin(id, 1000)).toBe(false)
  expect(mounts.expects(id)).toBe(true)
  mounts.remove(id, 'a')
  expect(mounts.expects(id)).toBe(false)
})

test('one that was seen is expected no more, though its Unmount got lost', () => {
  const { ledger: mounts } = ledger()
  mounts.add(id, 'a')
  mounts.saw(id, 0)
  expect(mounts.expects(id)).toBe(true)
  mounts.saw(id, 1)
  expect(mounts.expects(id)).toBe(false)
  expect(mounts.expectedWithin(id, 1000)).toBe(false)
})

test('of two, one seen is not both', () => {
  const { ledger: mounts } = ledger()
  mounts.add(id, 'a')
  mounts.saw(id, 1)
  mounts.add(id, 'b')
  mounts.saw(id, 1)
  expect(mounts.expects(id)).toBe(true)
  mounts.saw(id, 2)
  expect(mounts.expects(id)).toBe(false)
})

test('the same id again, as after a restart of the engine, is expected again', () => {
  const { ledger: mounts } = ledger()
  mounts.add(id, 'a')
  mounts.saw(id, 1)
  mounts.add(id, 'a')
  expect(mounts.expects(id)).toBe(true)
  mounts.remove(id, 'a')
  expect(mounts.expects(id)).toBe(false)
})

test('the watch for one container ends with its own Mount, whoever else is expected', () => {
  const { ledger: mounts } = ledger()
  expect(mounts.awaits(id, 'a')).toBe(false)
  mounts.add(id, 'a')
  mounts.add(id, 'b')
  mounts.remove(id, 'a')
  expect([mounts.awaits(id, 'a'), mounts.awaits(id, 'b')]).toEqual([false, true])
  mounts.saw(id, 1)
  expect(mounts.awaits(id, 'b')).toBe(false)
})
