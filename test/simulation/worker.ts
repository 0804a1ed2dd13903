import { parentPort } from 'node:worker_threads'
import { runScenario } from './run.ts'
import { type Scenario, scenarioOf } from './scenario.ts'
import type { Summary, Task } from './workers.ts'

const port = parentPort
if (port === null) throw new Error('started by workers.ts only')

port.on('message', async (tasks: readonly Task[]) => {
  const summary: Summary = { runs: 0, steps: 0, rows: 0, simulatedMs: 0, moves: {}, failures: [] }
  for (const task of tasks) {
    const scenario: Scenario = typeof task === 'number' ? scenarioOf(task) : task
    const { label, violation, moves, rows, steps, simulatedMs } = await runScenario(scenario)
    summary.runs += 1
    summary.steps += steps
    summary.rows += rows
    summary.simulatedMs += simulatedMs
    for (const [state, count] of Object.entries(moves)) summary.moves[state] = (summary.moves[state] ?? 0) + count
    if (violation !== null) summary.failures.push({ label, violation })
  }
  port.postMessage(summary)
})
