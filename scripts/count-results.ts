import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { allSuites } from '../lab/vm/suites.ts'

/*
 * Reads what vitest's JSON reporter wrote, here and in a guest, and says what failed, and in one line how it went:
 * count-results.ts DIRECTORY EXIT_STATUS
 */

interface Assertion {
  readonly status: string
  readonly fullName: string
  readonly failureMessages: readonly string[]
}

interface Results {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: readonly Assertion[]
  }[]
}

const root = join(import.meta.dirname, '..')
const [directory = '', exitStatus = '1'] = process.argv.slice(2)
/** A guest that was cut off leaves none, or half of one; then its suites did not run, which is told below. */
const readResults = (name: string): Results['testResults'] => {
  try {
    return (JSON.parse(readFileSync(join(directory, name), 'utf8')) as Results).testResults
  } catch (error) {
    console.error(`${name} cannot be read: ${String(error)}`)
    return []
  }
}

/** Of many suites, one after the other, the first may have failed long before the last line. */
const tell = (suite: Results['testResults'][number], what: string): void =>
  console.error(`failed: ${suite.name.replace(/^.*\/(?=test\/)/, '')}: ${what}`)
/** `unit` of test/unit/..., `vm/zfs` of test/vm/zfs/..., wherever the project lay. */
const projectOf = (path: string): string => /\/test\/((?:vm\/)?[^/]+)\//.exec(path)?.[1] ?? ''

let passed = 0
let failed = 0
let skipped = 0
const ran = new Map<string, number>()
for (const suite of readdirSync(directory).flatMap(readResults)) {
  const project = projectOf(suite.name)
  for (const { status, fullName, failureMessages } of suite.assertionResults) {
    if (status === 'passed') passed += 1
    else if (status === 'failed') failed += 1
    else skipped += 1
    if (status === 'failed') tell(suite, `${fullName}: ${(failureMessages[0] ?? '').split('\n')[0]}`)
    if (status === 'passed' || status === 'failed') ran.set(project, (ran.get(project) ?? 0) + 1)
  }
  // A file that could not be loaded, or whose hooks failed, has no failed test to show for it.
  const shown = suite.assertionResults.some(({ status }) => status === 'failed')
  if (suite.status === 'failed' && !shown) {
    failed += 1
    tell(suite, 'the file could not be loaded, or its hooks failed')
  }
}

const complain = (message: string): void => {
  console.error(message)
  failed += 1
}
const inGuest = allSuites().map((name) => `vm/${name}`)
const projects = ['unit', 'contract', 'platform', 'e2e', ...inGuest, 'vm/power-cuts']
for (const project of projects) {
  const files = readdirSync(join(root, 'test', project), { recursive: true, encoding: 'utf8' })
  const hasTests = files.some((name) => name.endsWith('.test.ts'))
  // Contract suites are factories; most are called from the other projects' files.
  if (!hasTests && project === 'contract') continue
  if (!hasTests) complain(`suite ${project} has no tests`)
  else if (!ran.has(project))
    complain(`suite ${project} did not run${process.getuid?.() === 0 ? '' : ': it needs root'}`)
}
// Errors outside of any test: vitest fails, and so must we.
if (exitStatus !== '0' && failed === 0) complain(`vitest ended with ${exitStatus}, though no test failed`)

console.log(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`)
process.exitCode = failed === 0 ? 0 : 1
