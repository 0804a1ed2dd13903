import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Scenario } from './scenario.ts'

/** A seed, or a scenario written out. */
export type Task = number | Scenario

export interface Summary {
  runs: number
  steps: number
  rows: number
  simulatedMs: number
  moves: Record<string, number>
  failures: { label: string; violation: string }[]
}

const chunk = 25

/** Runs all of them, on as many threads as there are processors. */
export const runAll = async (
  tasks: readonly Task[],
  onProgress: (done: Summary) => void = () => {},
): Promise<Summary> => {
  const total: Summary = { runs: 0, steps: 0, rows: 0, simulatedMs: 0, moves: {}, failures: [] }
  let next = 0
  const work = (worker: Worker) =>
    new Promise<void>((resolve, reject) => {
      const more = () => {
        if (next >= tasks.length) return resolve()
        worker.postMessage(tasks.slice(next, next + chunk))
        next += chunk
      }
      worker.on('error', reject)
      worker.on('message', (summary: Summary) => {
        total.runs += summary.runs
        total.steps += summary.steps
        total.rows += summary.rows
        total.simulatedMs += summary.simulatedMs
        total.failures.push(...summary.failures)
        for (const [state, count] of Object.entries(summary.moves))
          total.moves[state] = (total.moves[state] ?? 0) + count
        onProgress(total)
        more()
      })
      more()
    })
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(new URL('./worker.ts', import.meta.url)),
  )
  try {
    await Promise.all(workers.map(work))
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  return total
}
