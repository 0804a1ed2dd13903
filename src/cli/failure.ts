import { CommanderError } from 'commander'
import { problemOf } from '../api/problem.ts'
import { asDroverError, DroverError, errorKinds, isErrorCode } from '../domain/errors.ts'

/** A refusal of vold, as it came. A newer vold may have codes that are not known here. */
export class Refusal extends Error {
  readonly problem: Readonly<Record<string, unknown>>
  readonly status: number
  readonly code: string

  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    super(typeof problem.detail === 'string' ? problem.detail : `vold answered ${status}`)
    this.name = 'Refusal'
    this.problem = problem
    this.status = status
    this.code = typeof problem.code === 'string' ? problem.code : 'INTERNAL'
  }
}

export interface Failure {
  readonly code: string
  /** One line. */
  readonly message: string
  readonly exit: number
  readonly problem: Readonly<Record<string, unknown>>
}

/** What anything thrown means to the person at the shell. */
export const failureOf = (thrown: unknown): Failure => {
  if (thrown instanceof Refusal) {
    const { code, status, problem } = thrown
    const exit = isErrorCode(code) ? errorKinds[code].exit : exitOfStatus(status)
    return { code, message: oneLine(thrown.message), exit, problem }
  }
  const error = thrown instanceof CommanderError ? usageError(thrown) : asDroverError(thrown)
  return { code: error.code, message: oneLine(error.message), exit: error.kind.exit, problem: problemOf(error) }
}

const exitOfStatus = (status: number): number => ({ 400: 2, 404: 3, 409: 4, 412: 4, 502: 5, 503: 5 })[status] ?? 1

const usageError = (error: CommanderError): DroverError => {
  const said = error.message.replace(/^error: /, '').replace(/^\(outputHelp\)$/, 'no command was given')
  return new DroverError('BAD_REQUEST', `${said}; see vol --help`, { cause: error })
}

const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ').trim()
