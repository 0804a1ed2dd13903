import {
  checkDatasetOptions,
  type DatasetOptions,
  datasetOptionNames,
  datasetOptionsIn,
} from '../domain/dataset-options.ts'
import { DroverError } from '../domain/errors.ts'
import { parsePoolSpec } from '../domain/pool.ts'
import { parseSize } from '../domain/units.ts'

export interface CreateOptions {
  readonly pool?: string
  readonly sizeBytes?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly options?: DatasetOptions
}

const known = ['size', 'pool', 'label', ...datasetOptionNames]

/** Docker's `-o` options. @throws UNKNOWN_OPTION naming it, BAD_SIZE, BAD_CONFIG, BAD_REQUEST */
export const parseCreateOptions = (options: Readonly<Record<string, string>>): CreateOptions => {
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new DroverError(
      'UNKNOWN_OPTION',
      `option ${JSON.stringify(unknown.slice(0, 64))} does not exist; the options are ${known.join(', ')}`,
    )
  }
  const ofDataset = checkDatasetOptions(datasetOptionsIn(options))
  return {
    ...(options.pool === undefined ? {} : { pool: parsePoolSpec(options.pool).text }),
    ...(options.size === undefined ? {} : { sizeBytes: parseSize(options.size) }),
    ...(options.label === undefined ? {} : { labels: parseLabels(options.label) }),
    ...(Object.keys(ofDataset).length === 0 ? {} : { options: ofDataset }),
  }
}

/** `KEY=VALUE`, more of them after commas: the engine keeps the labels of its own `--label` to itself. */
const parseLabels = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split(',').map((label) => {
      const [key = '', ...value] = label.split('=')
      if (key !== '' && value.length > 0) return [key, value.join('=')]
      throw new DroverError(
        'BAD_REQUEST',
        `label ${JSON.stringify(label.slice(0, 64))} is not of the form KEY=VALUE; write label=KEY=VALUE[,KEY=VALUE]`,
      )
    }),
  )

/** What was asked for is what exists; nothing asked for fits everything, and labels are of the one that made it. `existing` is as the store keeps it. */
export const fits = (wanted: CreateOptions, existing: Readonly<Record<string, string>>): boolean =>
  (wanted.pool === undefined || wanted.pool === existing.pool) &&
  (wanted.sizeBytes === undefined || String(wanted.sizeBytes) === existing.size) &&
  Object.entries(wanted.options ?? {}).every(([name, value]) => existing[name] === value)
