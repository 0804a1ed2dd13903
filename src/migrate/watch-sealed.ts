import type { Backend } from '../backends/backend.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { asDroverError } from '../domain/errors.ts'
import type { VolumeHost } from '../volumes/host.ts'
import type { MoveCommand } from './agent.ts'
import type { Watchdog } from './watchdog.ts'

const pauseMs = 10_000

/**
 * Gives sealed and released sources their watchdog back, pool by pool. One that does not answer is asked again until it does, and holds up
 * neither the others nor the start.
 */
export const watchSealed = async (host: VolumeHost, watchdog: Watchdog, signal: AbortSignal): Promise<void> => {
  const watch = async (backend: Backend): Promise<void> => {
    for (const { record } of await host.heldOn(backend)) {
      if (record.moveId === null || !['sealed', 'released'].includes(record.role)) continue
      watchdog.watch(commandFrom(host, record, record.moveId))
    }
  }
  const again = async (backend: Backend): Promise<void> => {
    try {
      for (;;) {
        await host.clock.sleep(pauseMs, signal)
        if (await attempt(backend)) return
      }
    } catch {
      // Closed.
    }
  }
  const attempt = async (backend: Backend): Promise<boolean> => {
    try {
      await watch(backend)
      return true
    } catch (error) {
      const reason = asDroverError(error).message
      host.logger.warn({ pool: backend.spec.text, reason }, 'sources of moves in this pool are not watched yet')
      return false
    }
  }
  await Promise.all(
    host.backends.map(async (backend) => {
      if (!(await attempt(backend))) void again(backend)
    }),
  )
}

const commandFrom = (host: VolumeHost, record: DatasetRecord, moveId: MoveCommand['moveId']): MoveCommand => ({
  volumeId: record.volumeId,
  volumeName: record.name,
  moveId,
  epoch: record.seen,
  returnEpoch: host.epochs.seen(record.volumeId),
  sourcePool: record.pool,
})
