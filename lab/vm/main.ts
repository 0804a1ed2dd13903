import { LabError } from '../command.ts'
import { runInGuest } from './guest.ts'
import { allSuites, kernelModules, seldom, suitesForGuest } from './suites.ts'
import { clearOnSignals } from './work-directory.ts'

/**
 * npm run test:vm [-- ARGUMENTS OF VITEST]
 * npm run test:vm -- --exec COMMAND...
 * npm run test:vm -- --missing [FILE]: the suites that this machine's own kernel cannot run, but for what takes longest, their results into
 * FILE, as JSON
 * npm run test:vm -- --all [FILE]: all of them, and what takes longest too
 */
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

const minute = 60_000
const inGuest = '/scratch/results.json'
/** Without the cache each process that a stream starts strips the types of its source and compiles it anew: two thirds of its time. */
const environment = 'TMPDIR=/scratch NODE_COMPILE_CACHE=/scratch/compile-cache'

const vitest = (words: readonly string[]): string =>
  [`export PATH=/drover/node_modules/.bin:$PATH ${environment};`, 'vitest run', ...words.map(quote)].join(' ')

const projects = (names: readonly string[]): string[] => names.flatMap((name) => ['--project', name])

/** Null: there is nothing to do. */
const work = ([first, ...rest]: readonly string[]): { command: string; resultsFile?: string } | null => {
  if (first === '--exec') return { command: rest.join(' ') }
  if (first !== '--missing' && first !== '--all') {
    return { command: vitest(first === undefined ? ['--project', 'zfs'] : [first, ...rest]) }
  }
  const [resultsFile] = rest
  const wanted = first === '--all' ? allSuites() : suitesForGuest()
  if (wanted.length === 0) return null
  const left = first === '--all' ? [] : seldom.flatMap((pattern) => ['--exclude', pattern])
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${inGuest}`]
  const run = vitest([...projects(wanted), ...left, ...reporters])
  const command = `${run}; status=$?; cat ${inGuest} >/dev/drover-results; exit $status`
  return resultsFile === undefined ? { command } : { command, resultsFile }
}

clearOnSignals()
try {
  const given = work(process.argv.slice(2))
  if (given !== null) {
    const minutes = process.argv[2] === '--all' ? 180 : 60
    process.exitCode = await runInGuest(given.command, {
      ...(given.resultsFile === undefined ? {} : { resultsFile: given.resultsFile }),
      memoryMib: 6144,
      modules: kernelModules,
      timeoutMs: Number(process.env.DROVER_VM_MINUTES ?? minutes) * minute,
      onOutput: (chunk) => process.stdout.write(chunk),
    })
  }
} catch (error) {
  if (!(error instanceof LabError)) throw error
  console.error(`test:vm: ${error.message}`)
  process.exitCode = 1
}
