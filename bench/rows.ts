import type { Bench } from './context.ts'
import { dataPhase } from './data-phase.ts'
import { dockerRun } from './docker-run.ts'
import { forecast } from './forecast.ts'
import { manyVolumes } from './many-volumes.ts'
import { memory } from './memory.ts'
import { onePercent } from './one-percent.ts'
import { pluginCalls } from './plugin-calls.ts'
import { postgresGap } from './postgres-gap.ts'
import { sessionCost } from './session-cost.ts'
import { tlsFloor } from './tls-floor.ts'
import { undo } from './undo.ts'
import { writeGap } from './write-gap.ts'

/** All rows, in the order in which they are measured. */
export const benches: readonly Bench[] = [
  dataPhase,
  tlsFloor,
  onePercent,
  sessionCost,
  writeGap,
  postgresGap,
  dockerRun,
  pluginCalls,
  memory,
  manyVolumes,
  forecast,
  undo,
]
