import { Command } from 'commander'
import { addClusterCommands } from './commands-cluster.ts'
import { addEventCommands } from './commands-events.ts'
import { addMoveCommands } from './commands-moves.ts'
import { addRepairCommands } from './commands-repair.ts'
import { addVerifyCommand } from './commands-verify.ts'
import { addVolumeCommands } from './commands-volumes.ts'
import type { Context } from './context.ts'

/** Turns a command's work into what commander calls: arguments and options as declared; the result is the exit status. */
export type Run = <Args extends unknown[]>(
  work: (context: Context, ...args: Args) => Promise<number> | Promise<void>,
) => (...args: Args) => Promise<void>

export const defaultSocket = '/run/drover/vold.sock'

export interface GlobalOptions {
  readonly socket: string
  readonly json: boolean
}

/** `makeContext` is called when a command runs, `onExit` with its status. Errors are thrown, not printed. */
export const createProgram = (parts: {
  environment: Readonly<Record<string, string | undefined>>
  makeContext(options: GlobalOptions): Context
  onExit(status: number): void
}): Command => {
  const program = new Command('vol')
    .description('moves volumes, and the containers that live on them, between Docker hosts')
    .option('--socket <file>', 'socket of the local vold (also DROVER_SOCKET)')
    .option('--json', 'print JSON', false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showSuggestionAfterError(true)

  const run: Run =
    (work) =>
    async (...args) => {
      const options = program.opts<{ socket?: string; json: boolean }>()
      const socket = options.socket ?? parts.environment.DROVER_SOCKET ?? ''
      const context = parts.makeContext({ json: options.json, socket: socket === '' ? defaultSocket : socket })
      parts.onExit((await work(context, ...args)) ?? 0)
    }

  addClusterCommands(program, run)
  addVolumeCommands(program, run)
  addMoveCommands(program, run)
  addVerifyCommand(program, run)
  addEventCommands(program, run)
  addRepairCommands(program, run)
  return program
}
