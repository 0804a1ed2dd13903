import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench } from './context.ts'
import type { Verdict } from './report.ts'
import { benchTransfer } from './transfer.ts'
import { formatTransferRows, type TransferRow } from './transfer-rows.ts'

const text = ({ median, min, max }: TransferRow['ratio']): string =>
  `${median.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`

const verdictsOf = (row: TransferRow): Verdict[] => {
  if (row.ratioOf === 'rate') {
    const least = row.name.includes('plain') ? 1 : 0.9
    return [
      {
        what: `data phase, ${row.name}, against socat`,
        measured: `${text(row.ratio)} of its rate`,
        goal: `≥ ${least.toFixed(2)}`,
        holds: row.ratio.median >= least,
      },
    ]
  }
  return [
    {
      what: `data phase, ${row.name}, against \`send -p\` over socat`,
      measured: `${text(row.ratio)} of its time`,
      goal: '≤ 2',
      holds: row.ratio.median <= 2,
    },
    {
      what: `bytes, ${row.name}, against \`send -p\``,
      measured: row.bytesRatio.toFixed(3),
      goal: '≤ 1.05',
      holds: row.bytesRatio <= 1.05,
    },
  ]
}

/** From the first byte sent to the last synced: Drover's transfer against btrfs send, socat, btrfs receive. */
export const dataPhase: Bench = {
  name: 'data-phase',
  run: async ({ quick, directory, say }) => {
    const pools = join(directory, 'pools')
    mkdirSync(pools)
    const rows = await benchTransfer({
      directory: pools,
      repetitions: quick ? 1 : 3,
      oneFileBytes: quick ? 128 * 2 ** 20 : 2 ** 31,
      manyFilesBytes: quick ? 32 * 2 ** 20 : 2 ** 30,
      manyFiles: quick ? 1000 : 20_000,
      say,
    })
    return { title: 'Data phase', body: formatTransferRows(rows), verdicts: rows.flatMap(verdictsOf) }
  },
}
