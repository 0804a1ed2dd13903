import type { Command } from 'commander'
import type { RecoverReport } from '../control/control.ts'
import { show } from './context.ts'
import type { Run } from './program.ts'
import { table } from './table.ts'

/** recover. */
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
}

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
