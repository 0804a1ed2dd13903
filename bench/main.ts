import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { sleep } from '../lab/command.ts'
import { formatDuration } from '../src/domain/units.ts'
import { type BenchContext, dropLab } from './context.ts'
import { describeMachine, howVoldRuns } from './machine.ts'
import { guestSectionOf, page } from './page.ts'
import type { Section } from './report.ts'
import { summary } from './report.ts'
import { benches } from './rows.ts'
import { unmountBelow } from './transfer-pools.ts'

const usage = `usage: npm run bench -- [--quick] [--only ROW]... [--vold-log debug]
       npm run bench -- --guest [--quick] [--only ROW]...
rows: ${benches.map(({ name }) => name).join(', ')}`

const fail = (message: string): never => {
  console.error(`bench: ${message}`)
  process.exit(2)
}

const parsed = () => {
  try {
    return parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        'vold-log': { type: 'string', default: 'info' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return fail(`${error instanceof Error ? error.message : error}\n${usage}`)
  }
}
const { quick, only, 'vold-log': logLevel, help } = parsed()
if (help) {
  console.log(usage)
  process.exit(0)
}
const unknown = only.find((name) => !benches.some((bench) => bench.name === name))
if (unknown !== undefined) fail(`there is no row ${unknown}\n${usage}`)
if (process.getuid?.() !== 0) fail('root is needed: it makes file systems, namespaces and two Docker engines')

const startedAt = performance.now()
const elapsed = (): string => formatDuration(performance.now() - startedAt)
let isOver = false
const say = (line: string): void => {
  if (!isOver) process.stderr.write(`${line}\n`)
}
const context: BenchContext = { quick, logLevel, say, directory: mkdtempSync('/var/tmp/drover-bench-') }

const failed: string[] = []
const measure = async (): Promise<Section[]> => {
  const sections: Section[] = []
  for (const bench of benches) {
    if (isOver || (only.length > 0 && !only.includes(bench.name))) continue
    say(`== ${bench.name} (${elapsed()})`)
    try {
      const section = await bench.run(context)
      sections.push(section)
      if (!isOver) console.log(`\n## ${section.title}\n\n${section.body}\n`)
    } catch (error) {
      // One row that cannot be measured must not cost the others.
      failed.push(bench.name)
      say(`${bench.name}: ${error instanceof Error ? error.stack : error}`)
    }
  }
  return sections
}

const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Not once: execa, finding no listener left but its own, would end us on the spot.
    process.on(signal, () => reject(new Error(`ended by ${signal}`)))
  }
})

say(`vold runs ${howVoldRuns()}`)
let status = 1
const measuring = measure()
try {
  const sections = await Promise.race([measuring, interrupted])
  console.log(`## Summary${quick ? ' (--quick: these numbers say nothing about speed)' : ''}\n\n${summary(sections)}\n`)
  if (!quick && only.length === 0 && failed.length === 0) {
    const file = join(import.meta.dirname, '..', 'docs', 'benchmarks.md')
    writeFileSync(file, page(await describeMachine(), elapsed(), sections, guestSectionOf(readFileSync(file, 'utf8'))))
    console.log('written to docs/benchmarks.md')
  }
  if (failed.length > 0) console.error(`bench: could not be measured: ${failed.join(', ')}`)
  const missed = sections.flatMap(({ verdicts }) => verdicts).filter(({ holds }) => !holds).length
  console.log(`${missed === 0 ? 'every goal measured was reached' : `${missed} goals were not reached`} (${elapsed()})`)
  status = failed.length > 0 ? 1 : 0
} catch (error) {
  isOver = true
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
} finally {
  isOver = true
  await dropLab()
  // What was interrupted fails now that its lab is gone, and tidies up after itself.
  await Promise.race([measuring, sleep(15_000)])
  unmountBelow(context.directory)
  rmSync(context.directory, { recursive: true, force: true })
}
process.exit(status)
