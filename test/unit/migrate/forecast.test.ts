import { expect, test } from 'vitest'
import { hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import { atBegin, type MoveRecord, type Phase } from '../../../src/domain/move.ts'
import { forecastAfterMs, forecastDowntimeMs, learnDowntime } from '../../../src/migrate/forecast.ts'

const [host1, host2] = [hostId('1'.repeat(26)), hostId('2'.repeat(26))]
const [db, other] = [volumeId('d'.repeat(26)), volumeId('e'.repeat(26))]
const mebibyte = 2 ** 20
const there = { volumeId: db, sourceHostId: host1, targetHostId: host2, request: { quiesce: 'stop' as const } }
const backwards = { sourceHostId: host2, targetHostId: host1 }
const back = { ...there, ...backwards }

/** Its delta cost 100 ms and 10 ms a MiB. */
const past = (changes: Partial<MoveRecord>, quiesceMs: number, startMs: number, deltaMib: number): MoveRecord => {
  const deltaMs = 100 + 10 * deltaMib
  const times: [Phase, number][] = [
    ['precopy', 9_000],
    ['quiesce', quiesceMs],
    ['delta', deltaMs],
    ['verify', 50],
    ['release', 50],
    ['commit', 20],
    ['activate', startMs + 2_500],
  ]
  return {
    ...atBegin,
    ...there,
    id: moveId('m'.repeat(26)),
    volumeName: 'db',
    sourcePool: 'p',
    targetPool: 'p',
    epoch: 2,
    returnEpoch: 3,
    request: { to: '', quiesce: 'stop', containers: 'move', dropMounts: [], healthTimeoutMs: 0, onlyIdle: false },
    forecast: null,
    startedAt: '',
    state: 'done',
    rounds: [
      { snapshot: 's0', base: null, bytes: 100 * mebibyte, ms: 1_080 },
      { snapshot: 's1', base: 's0', bytes: deltaMib * mebibyte, ms: 80 + 10 * deltaMib },
    ],
    finalSnapshot: 's1',
    phaseTimes: times.map(([phase, ms]) => ({ phase, ms })),
    downtimeMs: quiesceMs + deltaMs + 120 + startMs,
    ...changes,
  }
}

test('nothing seen yet: a cautious guess, more with more to send', () => {
  const model = learnDowntime(there, [])
  expect(forecastDowntimeMs(model, 0)).toBe(1_200)
  expect(forecastDowntimeMs(model, 150 * mebibyte)).toBe(2_200)
})

test('moves of this volume tell what stops and starts cost, and its rounds what bytes cost', () => {
  const model = learnDowntime(there, [past({}, 4_000, 600, 0), past({}, 4_200, 600, 1), past({}, 3_900, 700, 30)])
  const forecast = forecastDowntimeMs(model, 50 * mebibyte)
  expect(Math.abs(forecast - (4_000 + 100 + 500 + 120 + 600))).toBeLessThan(150)
  // What is left once the writers have stopped, and once all is sent.
  expect(forecastAfterMs(model, 'quiesce', 50 * mebibyte)).toBeLessThan(forecast - 3_900)
  expect(forecastAfterMs(model, 'delta', 50 * mebibyte)).toBe(720)
})

test('the same direction counts more, other volumes less, and undone or other moves not at all', () => {
  const moves = [
    past({ volumeId: other }, 9_000, 100, 1),
    past({ state: 'aborted' }, 20_000, 100, 1),
    past({ request: { ...past({}, 0, 0, 0).request, quiesce: 'pause' } }, 30_000, 100, 1),
    past(backwards, 5_000, 100, 1),
    past(backwards, 5_000, 100, 1),
    past({}, 1_000, 100, 1),
    past({}, 1_000, 100, 1),
  ]
  expect(learnDowntime(there, moves).fixedMs.quiesce).toBe(1_000)
  expect(learnDowntime(back, moves).fixedMs.quiesce).toBe(5_000)
  expect(learnDowntime({ ...there, volumeId: volumeId('f'.repeat(26)) }, moves.slice(0, 3)).fixedMs.quiesce).toBe(9_000)
})

test('a limit on the rate is kept, whatever was seen without it', () => {
  const limited = { ...there, request: { quiesce: 'stop' as const, bwlimitBytes: mebibyte } }
  const model = learnDowntime(limited, [past({}, 100, 100, 30)])
  expect(forecastDowntimeMs(model, 4 * mebibyte)).toBeGreaterThan(4_000)
})
