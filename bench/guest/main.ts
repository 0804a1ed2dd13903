import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { formatDuration } from '../../src/domain/units.ts'
import type { Bench, BenchContext } from '../context.ts'
import { guestMark } from '../page.ts'
import { type Section, summary, table } from '../report.ts'
import { run } from '../transfer-pools.ts'
import { zfsDataPhase } from './data-phase.ts'
import { killedAtNinety } from './killed.ts'
import { zfsMemory } from './memory.ts'
import { zfsOnePercent } from './one-percent.ts'
import { againstSyncoid } from './syncoid.ts'

/* npm run bench -- --guest [--quick] [--only ROW]...: the rows that need OpenZFS, in a guest. A whole run prints its part of docs/benchmarks.md at the end. */

const benches: readonly Bench[] = [zfsDataPhase, againstSyncoid, zfsOnePercent, killedAtNinety, zfsMemory]

const { quick, only } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string', multiple: true, default: [] } },
}).values
const unknown = only.find((name) => !benches.some((bench) => bench.name === name))
if (unknown !== undefined) {
  console.error(
    `bench: there is no row ${unknown} in the guest; there are ${benches.map(({ name }) => name).join(', ')}`,
  )
  process.exit(2)
}

const startedAt = performance.now()
const elapsed = (): string => formatDuration(performance.now() - startedAt)
const directory = mkdtempSync(join(tmpdir(), 'drover-bench-'))
const context: BenchContext = { quick, directory, logLevel: 'info', say: (line) => console.log(line) }

const versions = table(
  ['', ''],
  [
    ['kernel', run('uname', '-sr').trim()],
    ['processors', `${run('nproc').trim()}, emulated`],
    ['OpenZFS', run('zfs', 'version').trim().replace('\n', ', ')],
    ['socat', /socat version (\S+)/.exec(run('socat', '-V'))?.[1] ?? 'unknown'],
    ['sanoid', /^Version: (.*)$/m.exec(run('dpkg', '-s', 'sanoid'))?.[1] ?? 'unknown'],
    ['Node.js', process.version],
  ],
)

const sections: Section[] = []
let failed = 0
for (const bench of benches.filter(({ name }) => only.length === 0 || only.includes(name))) {
  console.log(`== ${bench.name} (${elapsed()})`)
  try {
    const section = await bench.run(context)
    sections.push(section)
    console.log(`\n## ${section.title}\n\n${section.body}\n\n${summary([section])}\n`)
  } catch (error) {
    // One row that cannot be measured must not cost the others.
    failed += 1
    console.error(`${bench.name}: ${error instanceof Error ? error.stack : error}`)
  }
}
rmSync(directory, { recursive: true, force: true })
const note = quick ? ' (--quick: these numbers say nothing about speed)' : ''
console.log(`\n${versions}\n\n## Summary${note}\n\n${summary(sections)}\n\n(${elapsed()})`)
if (!quick && only.length === 0 && failed === 0) {
  const details = sections.map(({ title, body }) => `### ${title}\n\n${body}`).join('\n\n')
  console.log(`\n${guestMark}\n${versions}\n\n${summary(sections)}\n\n${details}\n${guestMark}`)
}
process.exit(failed === 0 ? 0 : 1)
