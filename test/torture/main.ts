import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Phase, phases } from '../../src/domain/move.ts'
import { formatDuration } from '../../src/domain/units.ts'
import { cellsOf, runCampaign } from './campaign.ts'
import { faults } from './faults.ts'
import { count, line, table } from './report.ts'

const usage = `usage: npm run torture -- [--only FAULT]... [--phase PHASE]... [--seed N] [--repeat N] [--labs N] [--json FILE] [--list]
       every fault at every phase of a move of a volume under a client that commits; docs/torture.md`

const fail = (message: string): never => {
  console.error(`torture: ${message}\n${usage}`)
  process.exit(2)
}

const parsed = () => {
  try {
    return parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        phase: { type: 'string', multiple: true },
        seed: { type: 'string' },
        repeat: { type: 'string', default: '1' },
        labs: { type: 'string', default: '5' },
        json: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

const whole = (text: string, what: string, from: number, to = 2 ** 31): number => {
  const number = Number(text)
  return Number.isInteger(number) && number >= from && number <= to ? number : fail(`${what} ${text} makes no sense`)
}

const known = <T extends string>(text: string, all: readonly T[], what: string): T =>
  all.find((each) => each === text) ?? fail(`there is no ${what} ${text}; there are ${all.join(', ')}`)

const options = parsed()
const faultNames = faults.map(({ name }) => name)
if (options.list) {
  for (const { name, says } of faults) console.log(`${name.padEnd(18)} ${says}`)
  process.exit(0)
}
const only = options.only?.map((text) => known(text, faultNames, 'fault')) ?? null
const ran: readonly Phase[] = options.phase?.map((text) => known(text, phases, 'phase')) ?? phases
const seed = options.seed === undefined ? Math.floor(Math.random() * 1e9) : whole(options.seed, 'seed', 0)
const repeat = whole(options.repeat, 'repeat', 1, 1000)
const labs = whole(options.labs, 'labs', 1, 8)
if (process.getuid?.() !== 0) fail('root is needed: it makes file systems, namespaces and Docker hosts')

const seeds = Array.from({ length: repeat }, (_, index) => seed + index)
const cells = cellsOf(ran, only, seeds)
const startedAt = performance.now()
console.log(`seed ${seed}${repeat > 1 ? ` to ${seed + repeat - 1}` : ''}, ${cells.length} cells`)
const outcomes = await runCampaign(cells, Math.min(labs, cells.length), (outcome, evidence) => {
  console.log(line(outcome))
  for (const each of evidence) console.log(`    ${each}`)
})
console.log(`\n${table(outcomes, ran)}`)
console.log(`seeds ${seeds.join(', ')}; ${formatDuration(performance.now() - startedAt)}`)
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ seeds, outcomes }, null, 2)}\n`)
if (count(outcomes, 'failed') > 0) process.exitCode = 1
