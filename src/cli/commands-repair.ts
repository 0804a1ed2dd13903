import type { Command } from 'commander'
import type { RecoverReport } from '../control/control.ts'
import type { DoctorReport } from '../control/doctor.ts'
import { show } from './context.ts'
import type { Run } from './program.ts'
import { table } from './table.ts'

/** recover, doctor. */
export const addRepairCommands = (program: Command, run: Run): void => {
  program
    .command('recover')
    .description('rebuild a lost or old state store from what the hosts hold')
    .option('--dry-run', 'say what would be done, and do nothing', false)
    .action(
      run(async (context, options: { dryRun: boolean }) => {
        const report = await context.client.call<RecoverReport>('POST', '/v1/recover', options)
        show(context, report, () => (report.needed ? found(report) : nothingToDo(report)))
      }),
    )

  program
    .command('doctor')
    .description('look for what is left over on any host, or not as it should be')
    .option('--fix', "do what is provably Drover's to do about it", false)
    .action(
      run(async (context, { fix }: { fix: boolean }) => {
        const report = fix
          ? await context.client.call<DoctorReport>('POST', '/v1/findings/fix', {})
          : await context.client.call<DoctorReport>('GET', '/v1/findings')
        show(context, report, () => findings(report))
        return report.findings.length === 0 ? 0 : 1
      }),
    )
}

const findings = ({ findings: left, fixed }: DoctorReport): string[] => [
  ...fixed.map(({ host, what, action }) => `fixed: ${host ?? ''}: ${what}: ${action ?? ''}`),
  ...(left.length === 0
    ? ['nothing found']
    : table(left, {
        KIND: ({ kind }) => kind,
        HOST: ({ host }) => host ?? '',
        FOUND: ({ what, problem }) => (problem === null ? what : `${what} (not fixed: ${problem})`),
        'WHAT TO DO': ({ action, advice }) => (action === null ? (advice ?? '') : `--fix: ${action}`),
      })),
]

const nothingToDo = ({ silent }: RecoverReport): string[] => [
  'nothing to recover: no host that answers has seen a newer store than this one',
  ...(silent.length === 0 ? [] : [`these hosts do not answer: ${silent.join(', ')}`]),
]

const found = ({ dryRun, term, answered, silent, volumes }: RecoverReport): string[] => [
  `${dryRun ? 'would recover' : 'recovered'} the state at term ${term} from ${answered.join(', ') || 'no host'}`,
  ...(silent.length === 0
    ? []
    : [`no answer from ${silent.join(', ')}: what only they know stays unknown until they are back`]),
  ...(volumes.length === 0
    ? ['no host holds a volume']
    : table(volumes, {
        VOLUME: ({ name }) => name,
        FOUND: ({ outcome }) => outcome,
        OWNER: ({ host }) => host ?? '',
        EPOCH: ({ epoch }) => (epoch === null ? '' : String(epoch)),
        WHY: ({ reason }) => reason,
      })),
]
