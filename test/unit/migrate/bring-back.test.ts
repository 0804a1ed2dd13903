import { expect, test } from 'vitest'
import type { ContainerRuntime, ContainerSpec } from '../../../src/containers/runtime.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { bringBack } from '../../../src/migrate/bring-back.ts'
import { MoveJournal, type SourceJournal } from '../../../src/migrate/move-journal.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { memoryHost } from '../../support/memory-host.ts'

const command = {
  ...{ volumeId: volumeId('v'.repeat(26)), volumeName: 'db', moveId: moveId('m'.repeat(26)) },
  ...{ epoch: 2, returnEpoch: 3 },
}
const specs = ['one', 'two'].map(
  (name) =>
    ({ id: name, name, wasRunning: true, wasPaused: false, restartPolicy: 'always' }) as unknown as ContainerSpec,
)
const noted: SourceJournal = { command, mode: 'stop', specs, killed: false, stopping: true, targetHostId: null }

/** Both containers vanished when they stopped; of the second, the engine refuses `step` so many times. */
const refusing = async (step: 'create' | 'start', times: number) => {
  const { host, files } = await memoryHost()
  let now = 0
  const clock = { ...systemClock, monotonic: () => (now += 1_000), sleep: async () => {} }
  Object.assign(host, { clock })
  const engine = new Map<string, { id: string; state: string; policy: string }>()
  const calls: string[] = []
  let left = times
  const refuse = (what: string, name: string) => {
    calls.push(`${what} ${name}`)
    if (what !== step || name !== 'two' || left === 0) return
    left -= 1
    throw new DroverError('DOCKER_FAILED', 'the port is taken')
  }
  const runtime = {
    find: async (name: string) => engine.get(name) ?? null,
    create: async ({ name }: ContainerSpec) => {
      refuse('create', name)
      engine.set(name, { id: name, state: 'created', policy: 'no' })
      return name
    },
    start: async (name: string) => {
      refuse('start', name)
      Object.assign(engine.get(name) ?? {}, { state: 'running' })
    },
    stop: async (name: string) => void Object.assign(engine.get(name) ?? {}, { state: 'exited' }),
    rearm: async (name: string, policy: string) => void Object.assign(engine.get(name) ?? {}, { policy }),
  } as unknown as ContainerRuntime
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const parts = { host, whole: host, runtime, journal: new MoveJournal('/data', files), watchdog }
  const kept = () => files.readIfExists(`/data/moves/${command.moveId}.refused.json`)
  return { parts, engine, calls, kept }
}

test.each(['create', 'start'] as const)(
  'what the engine refuses to %s once is tried again, by itself',
  async (step) => {
    const { parts, engine, calls, kept } = await refusing(step, 1)
    expect(await bringBack(parts, noted)).toEqual([])
    expect([...engine.values()].map(({ state, policy }) => [state, policy])).toEqual(
      Array(2).fill(['running', 'always']),
    )
    expect(calls.filter((call) => call === 'start one')).toHaveLength(1)
    expect(await kept()).toBeNull()
  },
)

test('what it refuses to start for good has its restart policy, and is told', async () => {
  const { parts, engine } = await refusing('start', 99)
  expect(await bringBack(parts, noted)).toEqual([
    'container two: the port is taken',
    expect.stringContaining(`${command.moveId}.refused.json`),
  ])
  expect(engine.get('one')?.state).toBe('running')
  expect(engine.get('two')).toMatchObject({ state: 'created', policy: 'always' })
})

test('what it refuses to make for good is kept whole, until it is made after all', async () => {
  const { parts, kept } = await refusing('create', 4)
  await bringBack(parts, noted)
  expect(JSON.parse((await kept()) ?? '')).toEqual({ specs: [specs[1]] })
  expect(await bringBack(parts, noted)).toEqual([])
  expect(await kept()).toBeNull()
})
