import { LabError } from '../command.ts'
import { runInGuest } from './guest.ts'

/** npm run test:vm [-- ARGUMENTS OF VITEST]; npm run test:vm -- --exec COMMAND... */
const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

/** Others are loaded by a mount. */
const kernelModules = ['zfs', 'dm_thin_pool']
const minute = 60_000

const [first, ...rest] = process.argv.slice(2)
const isExec = first === '--exec'
const given = isExec ? rest : process.argv.slice(2)
const suites = given.length > 0 ? given : ['--project', 'zfs']
const command = isExec
  ? given.join(' ')
  : ['export PATH=/drover/node_modules/.bin:$PATH TMPDIR=/scratch;', 'exec vitest run', ...suites.map(quote)].join(' ')

try {
  process.exitCode = await runInGuest(command, {
    memoryMib: 4096,
    modules: kernelModules,
    timeoutMs: Number(process.env.DROVER_VM_MINUTES ?? 30) * minute,
    onOutput: (chunk) => process.stdout.write(chunk),
  })
} catch (error) {
  if (!(error instanceof LabError)) throw error
  console.error(`test:vm: ${error.message}`)
  process.exitCode = 1
}
