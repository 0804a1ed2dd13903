import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { algorithm, chunkLimits, chunks, itemsOfChunk, printable } from '../../lib/tree-digest/chunks.ts'
import { beginning } from '../../lib/tree-digest/items.ts'
import type { Order, Report } from './ipc.ts'
import { openProgress } from './progress-file.ts'

/** A process of its own: reading a volume blocks nobody, and may take all day. */

const reportMs = 200
const shownUnreadable = 10
/** What lies beside it is the pool's: on pools of different kinds it is different. */
const what = 'data'

const report = (message: Report): void => void process.send?.(message)

const digest = async ({ top, file, of }: Extract<Order, { kind: 'digest' }>): Promise<void> => {
  const progress = openProgress(file, of)
  const hash = createHash('sha256').update(`${algorithm}\n`)
  const unreadable: string[] = []
  let entries = 0
  let bytes = 0
  const count = (chunk: (typeof progress.done)[number]): void => {
    hash.update(chunk.digest, 'hex')
    entries += chunk.entries
    bytes += chunk.bytes
    unreadable.push(...chunk.unreadable.slice(0, shownUnreadable - unreadable.length))
  }
  for (const chunk of progress.done) count(chunk)
  report({ kind: 'progress', entries, bytes })
  let reportedAt = performance.now()
  for (const chunk of chunks(top, progress.done.at(-1)?.next ?? beginning, chunkLimits, what)) {
    progress.append(chunk)
    count(chunk)
    if (performance.now() - reportedAt > reportMs) {
      report({ kind: 'progress', entries, bytes })
      reportedAt = performance.now()
    }
    await setImmediate()
  }
  report({ kind: 'done', entries, bytes, digest: hash.digest('hex'), unreadable })
}

const list = ({ top, start }: Extract<Order, { kind: 'list' }>): void => {
  const items = itemsOfChunk(top, start, chunkLimits, what).map(({ path, segment, traits, content, error }) => ({
    path: path.toString('base64'),
    shown: printable(path),
    segment,
    traits,
    content,
    error,
  }))
  report({ kind: 'items', items })
}

process.on('message', (order: Order) => {
  const work = order.kind === 'digest' ? digest(order) : Promise.resolve(order).then(list)
  work.catch((error: unknown) =>
    report({ kind: 'failed', message: error instanceof Error ? error.message : `${error}` }),
  )
})

// `vold` is gone: nobody wants the outcome.
process.on('disconnect', () => process.exit(1))
