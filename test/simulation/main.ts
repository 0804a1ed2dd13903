import { parseArgs } from 'node:util'
import { formatDuration } from '../../src/domain/units.ts'
import { courseNames, everyStep, stepScenario } from './every-step.ts'
import { type Outcome, runScenario } from './run.ts'
import {
  groupScenarioOf,
  handoverScenarioOf,
  poolsScenarioOf,
  type Scenario,
  scenarioOf,
  slowScenarioOf,
} from './scenario.ts'
import { runAll, type Summary } from './workers.ts'

const shown = 20

const usage = `usage: npm run simulate -- [--seeds COUNT] [--from SEED]   as many random storms; the first seed is chosen anew unless told
       npm run simulate -- --steps                     every step of every course, struck before, during and after it
       npm run simulate -- --seed SEED                 one storm again, with its trace
       npm run simulate -- --group-seed SEED           the same storm over a group of two volumes; with --seeds and --groups: many of them
       npm run simulate -- --pools-seed SEED           the same storm where hosts have two pools; with --seeds and --pools: many of them
       npm run simulate -- --slow-seed SEED            the same storm where snapshots take their time; with --seeds and --slow: many of them
       npm run simulate -- --handover-seed SEED        the same storm over disks that are handed over; with --seeds and --handovers: many of them
       npm run simulate -- --step COURSE:STEP:MOMENT:KIND   one struck step again, such as stop:12:during:kill`

const fail = (message: string): never => {
  console.error(`simulate: ${message}\n${usage}`)
  process.exit(2)
}

const parsed = () => {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string' },
        from: { type: 'string' },
        seed: { type: 'string' },
        'group-seed': { type: 'string' },
        'pools-seed': { type: 'string' },
        'slow-seed': { type: 'string' },
        slow: { type: 'boolean', default: false },
        'handover-seed': { type: 'string' },
        handovers: { type: 'boolean', default: false },
        pools: { type: 'boolean', default: false },
        groups: { type: 'boolean', default: false },
        step: { type: 'string' },
        steps: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

const whole = (text: string, what: string): number => {
  const number = Number(text)
  return Number.isSafeInteger(number) && number >= 0 ? number : fail(`${what} ${text} is no whole number`)
}

/** What goes on all the time. */
const usual =
  /call \/agent\/(?:holdings|setTable|keepAlive|transferStatus) |file (?:members|catalog)\.json$|store\.appendEvent$/

const show = (outcome: Outcome): void => {
  console.log(outcome.trace.filter((line) => !usual.test(line)).join('\n'))
  console.log(`${outcome.label}: ${outcome.violation ?? 'all held'}; trace ${outcome.hash}`)
}

/** What plays one storm again. */
const ofSeed = {
  ...{ seed: scenarioOf, 'group-seed': groupScenarioOf, 'pools-seed': poolsScenarioOf },
  ...{ 'slow-seed': slowScenarioOf, 'handover-seed': handoverScenarioOf },
} as const
type OfSeed = keyof typeof ofSeed
const isOfSeed = (name: string): name is OfSeed => Object.hasOwn(ofSeed, name)

/** As labels have it: an option without its hyphens, and its value. */
const chosen = async (option: string, value: string): Promise<Scenario> =>
  isOfSeed(option) ? ofSeed[option](whole(value, 'seed')) : stepScenario(value)

const report = async (what: string, startedAt: number, summary: Summary): Promise<void> => {
  const { runs, failures, moves, rows, steps, simulatedMs } = summary
  const ms = performance.now() - startedAt
  const ended = Object.entries(moves)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ')
  console.log(`${runs - failures.length} of ${runs} ${what} held, in ${formatDuration(ms)}`)
  console.log(
    `moves: ${ended}; ${steps} steps in storms, ${rows} acknowledged rows, ${Math.round(simulatedMs / 3_600_000)} simulated hours`,
  )
  for (const { label, violation } of failures.slice(0, shown))
    console.log(`FAILED ${label}: ${violation.slice(0, 200)}`)
  if (failures.length > shown) console.log(`and ${failures.length - shown} more`)
  const [first] = failures
  if (first === undefined) return
  const [option, value = ''] = first.label.split(' ')
  const scenario = await chosen((option ?? '').replace('--', ''), value)
  console.log(`\nThe first of them again, with npm run simulate -- ${first.label}:`)
  show(await runScenario(scenario, true))
  process.exitCode = 1
}

const { seeds, from, pools, groups, handovers, slow, steps, ...singles } = parsed()
const startedAt = performance.now()
const [single] = Object.entries(singles)
if (single !== undefined) {
  const outcome = await runScenario(await chosen(...single), true)
  show(outcome)
  if (outcome.violation !== null) process.exitCode = 1
} else if (steps) {
  const tasks = (await Promise.all(courseNames.map((name) => everyStep(name)))).flat()
  await report('struck steps', startedAt, await runAll(tasks.map(({ scenario }) => scenario)))
} else {
  const count = whole(seeds ?? '10000', 'count')
  const base = from === undefined ? Math.floor(Math.random() * 2 ** 31) : whole(from, 'seed')
  console.log(`seeds ${base} to ${base + count - 1}`)
  const many = (all: readonly number[]): readonly (number | Scenario)[] => {
    if (slow) return all.map(slowScenarioOf)
    if (groups) return all.map(groupScenarioOf)
    if (handovers) return all.map(handoverScenarioOf)
    return pools ? all.map(poolsScenarioOf) : all
  }
  const all = Array.from({ length: count }, (_, index) => base + index)
  await report('storms', startedAt, await runAll(many(all)))
}
