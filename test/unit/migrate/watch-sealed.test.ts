import { expect, test } from 'vitest'
import { DroverError } from '../../../src/domain/errors.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { watchSealed } from '../../../src/migrate/watch-sealed.ts'
import type { Watchdog } from '../../../src/migrate/watchdog.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

test('a pool that does not answer keeps no other source from its watchdog, and is asked again', async () => {
  const pauses: Array<() => void> = []
  const clock = { ...systemClock, sleep: () => new Promise<void>((resolve) => pauses.push(resolve)) }
  const { host, backend, other } = await memoryHost({ twoPools: true, clock })
  const sealed = { role: 'sealed', moveId: moveId('m'.repeat(26)) } as const
  for (const [pool, id] of [
    [backend, volumeId('v'.repeat(26))],
    [other, volumeId('w'.repeat(26))],
  ] as const) {
    await pool.create(id, { sizeBytes: null })
    await pool.writeRecord({ ...recordOf(id, pool), ...sealed, volumeId: id })
  }
  const list = backend.list.bind(backend)
  backend.list = async () => {
    throw new DroverError('POOL_UNREACHABLE', 'it hangs')
  }
  const watched: string[] = []
  const watchdog = { watch: ({ volumeId }: MoveCommand) => void watched.push(volumeId) } as unknown as Watchdog
  await watchSealed(host, watchdog, new AbortController().signal)
  expect(watched).toEqual(['w'.repeat(26)])
  backend.list = list
  pauses.forEach((wake) => {
    wake()
  })
  await expect.poll(() => watched).toEqual(['w'.repeat(26), 'v'.repeat(26)])
})
