import { DroverError } from '../domain/errors.ts'
import { parsePoolSpec } from '../domain/pool.ts'
import { parseSize } from '../domain/units.ts'

export interface CreateOptions {
  readonly pool?: string
  readonly sizeBytes?: number
}

const known = ['size', 'pool']

/** Docker's `-o` options. @throws UNKNOWN_OPTION naming it, BAD_SIZE, BAD_CONFIG */
export const parseCreateOptions = (options: Readonly<Record<string, string>>): CreateOptions => {
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new DroverError(
      'UNKNOWN_OPTION',
      `option ${JSON.stringify(unknown.slice(0, 64))} does not exist; the options are ${known.join(' and ')}`,
    )
  }
  return {
    ...(options.pool === undefined ? {} : { pool: parsePoolSpec(options.pool).text }),
    ...(options.size === undefined ? {} : { sizeBytes: parseSize(options.size) }),
  }
}

/** What was asked for is what exists; nothing asked for fits everything. `existing` is as the store keeps it. */
export const fits = (wanted: CreateOptions, existing: Readonly<Record<string, string>>): boolean =>
  (wanted.pool === undefined || wanted.pool === existing.pool) &&
  (wanted.sizeBytes === undefined || String(wanted.sizeBytes) === existing.size)
