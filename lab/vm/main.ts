import { LabError } from '../command.ts'
import { modulesDisk } from './disks.ts'
import { runInGuest } from './guest.ts'
import { guestImage } from './image.ts'
import { inAHurry, quickNode } from './kept.ts'
import { allSuites, inLanes, kernelModules, modulesFor, seldom, suitesForGuest } from './suites.ts'
import { clearOnSignals } from './work-directory.ts'

/**
 * npm run test:vm [-- ARGUMENTS OF VITEST]
 * npm run test:vm -- --exec COMMAND...
 * npm run test:vm -- --missing [FILE.json]: the suites that this machine's own kernel cannot run, but for what takes longest, in guests side
 * by side, the results of each into FILE-<suite>.json
 * npm run test:vm -- --all [FILE]: all of them, and what takes longest too
 */
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

const minute = 60_000
const inGuest = '/scratch/results.json'
const environment = ['TMPDIR=/scratch', 'DROVER_TEST_MODULES=/kept/modules', ...quickNode]

const vitest = (words: readonly string[], more: readonly string[] = []): string =>
  [
    ...['export', 'PATH=/drover/node_modules/.bin:$PATH', ...environment, ...more],
    ...['; vitest', 'run', '--configLoader', 'native', ...words.map(quote)],
  ].join(' ')

const projects = (names: readonly string[]): string[] => names.flatMap((name) => ['--project', name])

interface Run {
  readonly command: string
  readonly modules: readonly string[]
  /** Of the caches that it is given, and leaves for the next one. */
  readonly keepAs?: string
  readonly resultsFile?: string
}

/** Each in a guest of its own. */
const runs = ([first, ...rest]: readonly string[]): Run[] => {
  if (first === '--exec') return [{ command: rest.join(' '), modules: kernelModules }]
  if (first !== '--missing' && first !== '--all') {
    const words = first === undefined ? ['--project', 'zfs'] : [first, ...rest]
    return [{ command: vitest(words), modules: kernelModules, keepAs: 'suites' }]
  }
  const [resultsFile] = rest
  const lanes = inLanes(first === '--all' ? allSuites() : suitesForGuest())
  const left = first === '--all' ? [] : seldom.flatMap((pattern) => ['--exclude', pattern])
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${inGuest}`]
  return lanes.map((lane) => {
    const run = vitest([...projects(lane), ...left, ...reporters], first === '--all' ? [] : [inAHurry])
    const command = `${run}; status=$?; cat ${inGuest} >/dev/drover-results; exit $status`
    const guest = { command, modules: modulesFor(lane), keepAs: `${lane[0]}` }
    if (resultsFile === undefined) return guest
    return { ...guest, resultsFile: resultsFile.replace(/(\.json)?$/, `-${lane[0]}.json`) }
  })
}

/** Whole lines, since guests that run side by side print side by side. */
const byLines = (print: (text: string) => void) => {
  let begun = ''
  return {
    take: (chunk: Buffer): void => {
      const text = begun + chunk.toString()
      const end = text.lastIndexOf('\n') + 1
      begun = text.slice(end)
      if (end > 0) print(text.slice(0, end))
    },
    end: (): void => print(begun),
  }
}

const inGuestOfItsOwn = async ({ command, modules, keepAs, resultsFile }: Run, minutes: number): Promise<number> => {
  const lines = byLines((text) => process.stdout.write(text))
  try {
    return await runInGuest(command, {
      ...(resultsFile === undefined ? {} : { resultsFile }),
      ...(keepAs === undefined ? {} : { keepAs }),
      memoryMib: 4096,
      modules,
      timeoutMs: minutes * minute,
      onOutput: lines.take,
    })
  } catch (error) {
    if (!(error instanceof LabError)) throw error
    console.error(`test:vm: ${error.message}`)
    return 1
  } finally {
    lines.end()
  }
}

clearOnSignals()
const argv = process.argv.slice(2)
if (argv[0] === '--prepare') {
  // Whoever boots a guest does it too; but not within the time that a test has.
  await guestImage()
  await modulesDisk()
} else {
  const minutes = Number(process.env.DROVER_VM_MINUTES ?? (argv[0] === '--all' ? 180 : 60))
  const ends = await Promise.all(runs(argv).map((run) => inGuestOfItsOwn(run, minutes)))
  process.exitCode = ends.find((status) => status !== 0) ?? 0
}
