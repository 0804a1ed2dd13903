import { DroverError } from '../../domain/errors.ts'

const unreadable = (what: string, text: string): DroverError =>
  new DroverError('COMMAND_FAILED', `the answer of ${what} is not understood; is this OpenZFS 2.2 or later?`, {
    details: { text: text.slice(0, 2048) },
  })

/** What `-H` prints: a line a row, a tab between columns. Neither can be in a name of ZFS, nor in a value that Drover wrote. */
export const parseRows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'))

export interface Versions {
  /** Of the programs, such as [2, 3]. */
  readonly programs: readonly [number, number]
  /** Of the kernel's module. */
  readonly module: readonly [number, number]
}

export const parseVersions = (text: string): Versions => {
  const version = (pattern: RegExp): readonly [number, number] => {
    const found = pattern.exec(text)
    if (found === null) throw unreadable('zfs version', text)
    return [Number(found[1]), Number(found[2])]
  }
  return { programs: version(/^zfs-(\d+)\.(\d+)/m), module: version(/^zfs-kmod-(\d+)\.(\d+)/m) }
}

/** A whole number that JavaScript holds exactly; with `-p` that is what sizes and transactions are printed as. */
export const wholeNumber = (what: string, text: string | undefined): number => {
  if (text === undefined || !/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw unreadable(what, text ?? '(nothing)')
  }
  return Number(text)
}

/** A guid has 64 bits: a text for us. */
export const guidOf = (what: string, text: string | undefined): string => {
  if (text === undefined || !/^\d{1,20}$/.test(text)) throw unreadable(what, text ?? '(nothing)')
  return text
}

/** What a resume token is of, as `zstream token` tells it. @throws COMMAND_FAILED when it tells no such thing */
export const readToken = (text: string): { toGuid: string; fromGuid: string | null } => {
  const guid = (name: string): string | null => new RegExp(`^\\s*${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? null
  const toGuid = guid('toguid')
  if (toGuid === null) throw new DroverError('COMMAND_FAILED', 'zstream token names no snapshot; the token is not used')
  return { toGuid, fromGuid: guid('fromguid') }
}
