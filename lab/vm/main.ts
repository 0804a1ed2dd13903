import { LabError } from '../command.ts'
import { runInGuest } from './guest.ts'
import { suitesForGuest } from './suites.ts'
import { clearOnSignals } from './work-directory.ts'

/**
 * npm run test:vm [-- ARGUMENTS OF VITEST]
 * npm run test:vm -- --exec COMMAND...
 * npm run test:vm -- --missing [FILE]: the suites that this machine's own kernel cannot run, but for what takes longest, their results into
 * FILE, as JSON
 */
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

/** Others are loaded by a mount. */
const kernelModules = ['zfs', 'dm_thin_pool']
const minute = 60_000
/** Ten minutes of one emulated processor; the same engine is crashed between any two commands on loop devices, on this kernel. */
const seldom = '**/lvm-crashes.test.ts'
const inGuest = '/scratch/results.json'

const vitest = (words: readonly string[]): string =>
  ['export PATH=/drover/node_modules/.bin:$PATH TMPDIR=/scratch;', 'vitest run', ...words.map(quote)].join(' ')

const projects = (names: readonly string[]): string[] => names.flatMap((name) => ['--project', name])

/** Null: there is nothing to do. */
const work = ([first, ...rest]: readonly string[]): { command: string; resultsFile?: string } | null => {
  if (first === '--exec') return { command: rest.join(' ') }
  if (first !== '--missing') return { command: vitest(first === undefined ? ['--project', 'zfs'] : [first, ...rest]) }
  const [resultsFile] = rest
  const missing = suitesForGuest()
  if (missing.length === 0) return null
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${inGuest}`]
  const run = vitest([...projects(missing), '--exclude', seldom, ...reporters])
  const command = `${run}; status=$?; cat ${inGuest} >/dev/drover-results; exit $status`
  return resultsFile === undefined ? { command } : { command, resultsFile }
}

clearOnSignals()
try {
  const given = work(process.argv.slice(2))
  if (given !== null) {
    process.exitCode = await runInGuest(given.command, {
      ...(given.resultsFile === undefined ? {} : { resultsFile: given.resultsFile }),
      memoryMib: 4096,
      modules: kernelModules,
      timeoutMs: Number(process.env.DROVER_VM_MINUTES ?? 60) * minute,
      onOutput: (chunk) => process.stdout.write(chunk),
    })
  }
} catch (error) {
  if (!(error instanceof LabError)) throw error
  console.error(`test:vm: ${error.message}`)
  process.exitCode = 1
}
