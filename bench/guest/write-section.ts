import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { tryRun } from '../../lab/command.ts'
import { measuredIn, withGuestSection } from '../page.ts'

/* write-section.ts FILE: what a run in the guest printed, if it was a whole one, into docs/benchmarks.md. */

const [output = ''] = process.argv.slice(2)
const measured = measuredIn(readFileSync(output, 'utf8'))
if (measured !== null) {
  const file = join(import.meta.dirname, '..', '..', 'docs', 'benchmarks.md')
  const commit = (await tryRun(['git', 'rev-parse', '--short', 'HEAD'])).stdout.trim()
  const date = new Date().toISOString().slice(0, 10)
  const where = `At ${commit || 'no commit'}, ${date}, one processor that QEMU emulates, on ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}.`
  writeFileSync(file, withGuestSection(readFileSync(file, 'utf8'), measured, where))
  console.log('written to docs/benchmarks.md')
}
