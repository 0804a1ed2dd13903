import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Control } from '../control/control.ts'
import type { Clock } from '../lib/clock.ts'
import type { StoredEvent } from '../state/store.ts'

const heartbeatMs = 15_000
const batchSize = 100

/**
 * Every event after `after`, then those that come, until the client goes or `stop` is aborted. The store is always what is
 * read; a callback only says when to look: nothing is missed and nothing comes twice.
 */
export const streamEvents = async (
  response: ServerResponse,
  control: Control,
  after: number,
  clock: Clock,
  stop: AbortSignal,
): Promise<void> => {
  const gone = new AbortController()
  const end = () => gone.abort()
  response.once('close', end)
  stop.addEventListener('abort', end, { once: true })
  let changed = Promise.withResolvers<void>()
  const unsubscribe = control.onEvent(() => changed.resolve())
  try {
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    })
    response.write('retry: 2000\n\n')
    let position = after
    while (!gone.signal.aborted && !stop.aborted) {
      changed = Promise.withResolvers<void>()
      const batch = await control.events(position, batchSize)
      for (const event of batch) {
        await write(response, frame(event), gone.signal)
        position = event.sequence
      }
      if (batch.length > 0) continue
      const quiet = new AbortController()
      const beat = clock.sleep(heartbeatMs, AbortSignal.any([gone.signal, quiet.signal])).then(
        () => write(response, ': heartbeat\n\n', gone.signal),
        () => undefined,
      )
      await Promise.race([changed.promise, beat])
      quiet.abort()
    }
    response.end()
  } finally {
    unsubscribe()
    stop.removeEventListener('abort', end)
  }
}

const frame = (event: StoredEvent): string =>
  `id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`

const write = async (response: ServerResponse, text: string, gone: AbortSignal): Promise<void> => {
  if (gone.aborted || response.write(text)) return
  await once(response, 'drain', { signal: gone }).catch((error: unknown) => {
    if (!gone.aborted) throw error
  })
}
