import { expect, test } from 'vitest'
import type { Agent } from '../../../src/migrate/agent.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { steps } from '../../../src/migrate/steps.ts'

test('a handover whose pools reach the same disks no more, as the next runner finds, is no copy with its writers stopped', async () => {
  const asked: string[] = []
  const agent = (answers: Partial<Agent>): Agent =>
    new Proxy(answers as Agent, {
      get: (of, name: keyof Agent) => {
        asked.push(name)
        return of[name]
      },
    })
  const context = {
    source: agent({ observe: async () => ({ record: { snapshots: [] } }) as never }),
    target: agent({ checkTarget: async () => ({ handover: 'ebs: 1 a' }) as never }),
    ...{ sourceHost: { name: 'host1' }, targetHost: { name: 'host2' }, command: {}, lastShipped: null },
    move: { volumeName: 'db', rounds: [], forecastDowntimeMs: 3_000, request: {} },
  } as unknown as MoveContext
  await expect(steps.delta(context)).rejects.toMatchObject({ code: 'MOVE_FAILED' })
  expect(asked).toEqual(['observe', 'checkTarget'])
})
