import { expect, test } from 'vitest'
import type { ContainerRuntime, ContainerSpec } from '../../../src/containers/runtime.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { SourceJournal } from '../../../src/migrate/move-journal.ts'
import { restoreAll } from '../../../src/migrate/writers.ts'

test('a writer that was killed while frozen is started again, also when its engine has not seen its end yet', async () => {
  const engine = { state: 'running', asked: 0, policy: 'no' }
  const runtime = {
    find: async () => {
      engine.asked += 1
      if (engine.asked === 2) engine.state = 'exited'
      return { id: 'c1', state: engine.state }
    },
    stop: async () => void Object.assign(engine, { state: 'exited' }),
    start: async () => void Object.assign(engine, { state: 'running' }),
    rearm: async (_id: string, policy: string) => void Object.assign(engine, { policy }),
  } as unknown as ContainerRuntime
  const spec = { name: 'writer', wasRunning: true, wasPaused: false, restartPolicy: 'always', stopTimeoutS: 10 }
  const journal = { mode: 'pause', killed: true, stopping: false, specs: [spec as unknown as ContainerSpec] }
  await restoreAll(runtime, systemClock, journal as unknown as SourceJournal, async () => 'made')
  expect(engine).toMatchObject({ state: 'running', policy: 'always' })
  expect(engine.asked).toBeGreaterThan(2)
})
