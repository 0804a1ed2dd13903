import { readFile } from 'node:fs/promises'
import { parse } from 'smol-toml'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import type { CloudUse } from '../migrate/cloud-use.ts'

const price = z.number().min(0)

const shape = z.strictObject({
  /** As it is to be shown: `USD`. */
  currency: z.string().regex(/^[A-Z]{3}$/, 'is three capital letters, such as USD'),
  snapshot_gib_month: price,
  volume_gib_month: price,
  transfer_gib: price.default(0),
  thousand_api_calls: price.default(0),
})

/** What a cloud takes, as the operator wrote it down. */
export type Prices = z.infer<typeof shape>

export interface Cost {
  readonly amount: number
  readonly currency: string
}

/** Read each time that it is asked for, so that a new price counts at once. @throws BAD_CONFIG */
export const readPrices = async (path: string): Promise<Prices> => {
  const problem = (why: string) =>
    new DroverError(
      'BAD_CONFIG',
      `price file ${path} ${why}; put it right (docs/ebs.md has the format), or leave prices out`,
    )
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw problem(`cannot be read: ${error instanceof Error ? error.message : error}`)
  })
  try {
    return shape.parse(parse(text))
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`.trim()).join('; ')
        : String(error instanceof Error ? error.message : error).split('\n')[0]
    throw problem(`cannot be used: ${reason}`)
  }
}

/** At most about so much. Null: without prices. */
export const costOf = (use: CloudUse, prices: Prices | null): Cost | null => {
  if (prices === null) return null
  const amount =
    use.snapshotGibMonths * prices.snapshot_gib_month +
    use.volumeGibMonths * prices.volume_gib_month +
    (use.transferBytes / 2 ** 30) * prices.transfer_gib +
    (use.apiCalls / 1_000) * prices.thousand_api_calls
  // Never less than it is.
  return { amount: Math.ceil(amount * 10_000 - 1e-6) / 10_000, currency: prices.currency }
}
