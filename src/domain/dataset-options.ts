import { DroverError } from './errors.ts'

/** What a dataset is made with beside its size, by name. A kind of pool has all of them or none. */
export type DatasetOptions = Readonly<Record<string, string>>

const values: Readonly<Record<string, readonly string[]>> = {
  /** What suits a program; an option that is given beside it goes before. */
  profile: ['postgresql', 'mysql'],
  compression: ['off', 'lz4', 'zstd'],
  recordsize: ['4K', '8K', '16K', '32K', '64K', '128K', '256K', '512K', '1M'],
  encryption: ['on', 'off'],
}

export const datasetOptionNames: readonly string[] = Object.keys(values)

/** Those of a volume's options that are its dataset's. */
export const datasetOptionsIn = (options: Readonly<Record<string, string>>): DatasetOptions =>
  Object.fromEntries(Object.entries(options).filter(([name]) => datasetOptionNames.includes(name)))

/** @throws UNKNOWN_OPTION, BAD_REQUEST, with what there is to choose from */
export const checkDatasetOptions = (options: Readonly<Record<string, string>>): DatasetOptions => {
  for (const [name, value] of Object.entries(options)) {
    const known = datasetOptionNames.includes(name) ? values[name] : undefined
    if (known === undefined) {
      throw new DroverError(
        'UNKNOWN_OPTION',
        `option ${shown(name)} does not exist; the options are ${datasetOptionNames.join(', ')}`,
      )
    }
    if (!known.includes(value)) {
      throw new DroverError('BAD_REQUEST', `option ${name} cannot be ${shown(value)}; use one of ${known.join(', ')}`)
    }
  }
  return options
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 64))
