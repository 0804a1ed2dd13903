import { sleep } from '../lab/command.ts'
import type { Lab } from '../lab/lab.ts'
import { type Bench, withLab } from './context.ts'
import { fillVolume, isFull, moveVolume } from './moves.ts'
import { table } from './report.ts'
import { ownResidentBytes, peakWhile } from './resident.ts'
import { shuffled, spreadOf } from './statistics.ts'

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
/** What counts as growth: more than this above the smaller volume's peak. */
const tolerance = 1.1

/** Resident memory of `vold`: idle, and with its transfer processes while volumes of different sizes move. */
export const memory: Bench = {
  name: 'memory',
  run: async (context) => {
    const sizes = context.quick ? [0.0625, 0.25] : [1, 4]
    const repetitions = context.quick ? 1 : 5
    const pool = { poolBytes: (context.quick ? 2 : 12) * 2 ** 30 }
    const idle: number[] = []
    const peaks = new Map<number, number[]>(sizes.map((gib) => [gib, []]))
    await withLab(context, pool, async (lab) => {
      await sleep(context.quick ? 2_000 : 10_000)
      for (const host of lab.hosts) idle.push(await ownResidentBytes(host))
      // A process that has moved nothing yet is smaller, whatever it moves first.
      if (!context.quick) await peakOfMove(lab, 'memory-warm-up', 1)
      for (let repetition = 0; repetition < repetitions; repetition += 1) {
        for (const gib of shuffled(sizes)) {
          const peak = await peakOfMove(lab, `memory-${repetition}-${String(gib).replace('.', '-')}`, gib)
          context.say(`${gib} GiB: ${peak.map(mebibytes).join(' and ')}`)
          peaks.get(gib)?.push(Math.max(...peak))
        }
      }
    })
    const spreads = sizes.map((gib) => ({ gib, ...spreadOf(peaks.get(gib) ?? []) }))
    const [small, large] = [spreads[0], spreads.at(-1)]
    const ratio = (large?.median ?? Number.NaN) / (small?.median ?? Number.NaN)
    const range = ({ median, min, max }: { median: number; min: number; max: number }) =>
      `${mebibytes(median)} (${mebibytes(min)}-${mebibytes(max)})`
    const most = Math.max(...idle)
    return {
      title: 'Memory',
      body: table(
        ['resident', 'measured'],
        [
          ['`vold` idle, host1 (control role) and host2', idle.map(mebibytes).join(', ')],
          ...spreads.map((one) => [
            `peak of \`vold\` and all that it started, the larger of both hosts, full move of ${one.gib} GiB`,
            range(one),
          ]),
        ],
      ),
      verdicts: [
        { what: '`vold` idle, resident', measured: mebibytes(most), goal: '< 120 MB', holds: most < 120e6 },
        {
          what: `peak resident while moving ${large?.gib} GiB against ${small?.gib} GiB`,
          measured: `${ratio.toFixed(2)} times`,
          goal: `does not grow (≤ ${tolerance})`,
          holds: ratio <= tolerance,
        },
      ],
    }
  },
}

/** Of a full move of an idle volume, host by host; the volume goes. */
const peakOfMove = async (lab: Lab, volume: string, gib: number): Promise<number[]> => {
  await fillVolume(lab.host1, volume, gib * 2 ** 30)
  const peak = await peakWhile(lab.hosts, async () => {
    const move = await moveVolume(lab, volume, lab.host2, 'stop')
    if (!isFull(move)) throw new Error(`the move of ${volume} was not a full one`)
  })
  await lab.host1.vol('rm', volume)
  return peak
}
