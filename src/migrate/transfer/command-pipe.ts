import { closeSync } from 'node:fs'
import { type OnReadOpts, Socket } from 'node:net'
import type { Argv } from '../../backends/backend.ts'
import { openPipe } from '../../lib/pipe.ts'
import { type StreamCommand, startStreamCommand } from './command.ts'

/**
 * A process of ours works through megabytes before it looks at its other streams again: the command must find, or find room for, what
 * lasts so long.
 */
const pipeBytes = 2 ** 20

/** @param onread where its output goes; reading starts at once */
export const startWriter = (argv: Argv, onread: OnReadOpts): { command: StreamCommand; output: Socket } => {
  const { readEnd, writeEnd } = openPipe(pipeBytes)
  const command = startStreamCommand(argv, 'ignore', writeEnd)
  closeSync(writeEnd)
  return { command, output: new Socket({ fd: readEnd, readable: true, writable: false, onread }) }
}

export interface Reader {
  readonly command: StreamCommand
  readonly input: Socket
}

export const startReader = (argv: Argv): Reader => {
  const { readEnd, writeEnd } = openPipe(pipeBytes)
  const command = startStreamCommand(argv, readEnd, 'ignore')
  closeSync(readEnd)
  return { command, input: new Socket({ fd: writeEnd, readable: false, writable: true }) }
}
