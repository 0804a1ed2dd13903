import { DroverError } from '../domain/errors.ts'
import { parseSize } from '../domain/units.ts'

/** `50M` or `50M/s`: bytes per second. */
export const parseRate = (text: string): number => parseSize(text.replace(/\/s$/i, ''))

export const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text]

/** Of an option that may be given again. */
const collectPairs =
  (what: string, option: string) =>
  (text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> => {
    const equals = text.indexOf('=')
    if (equals < 1) {
      throw new DroverError('BAD_REQUEST', `${what} ${JSON.stringify(text)} cannot be used; write ${option} NAME=VALUE`)
    }
    return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) }
  }

export const collectLabel = collectPairs('label', '--label')
export const collectOpt = collectPairs('option', '--opt')

/** Without the options that were not given. */
export const given = <T extends object>(options: T): Partial<T> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
