import type { Sample } from './transfer-methods.ts'

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export interface TransferRow {
  readonly name: string
  readonly floorMs: Spread
  readonly ms: Spread
  /** `rate`: our rate by the floor's (full copies); `time`: our time by the floor's (incremental). Of each repetition by itself. */
  readonly ratio: Spread
  readonly ratioOf: 'rate' | 'time'
  /** CPU seconds of all processes at both ends per 10^9 bytes of stream; medians. */
  readonly floorCpuPerGb: number
  readonly cpuPerGb: number
  /** As Drover counted them. */
  readonly bytes: number
  /** Bytes by those of `btrfs send` of the same. */
  readonly bytesRatio: number
}

export const spread = (values: readonly number[]): Spread => {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const half = Math.floor(sorted.length / 2)
  return {
    median: sorted.length % 2 === 1 ? at(half) : (at(half - 1) + at(half)) / 2,
    min: at(0),
    max: at(sorted.length - 1),
  }
}

/** The samples of one repetition stand at the same index in both lists. */
export const rowOf = (
  name: string,
  floor: readonly Sample[],
  ours: readonly Sample[],
  streamBytes: number,
  ratioOf: 'rate' | 'time',
): TransferRow => {
  const bytes = spread(ours.map((sample) => sample.bytes)).median
  const perGb = (samples: readonly Sample[]) =>
    spread(samples.map((sample) => sample.cpuSeconds)).median / (streamBytes / 1e9)
  const ratios = ours.map((sample, index) => {
    const floorMs = floor[index]?.ms ?? Number.NaN
    return ratioOf === 'time' ? sample.ms / floorMs : floorMs / sample.ms
  })
  return {
    name,
    floorMs: spread(floor.map((sample) => sample.ms)),
    ms: spread(ours.map((sample) => sample.ms)),
    ratio: spread(ratios),
    ratioOf,
    floorCpuPerGb: perGb(floor),
    cpuPerGb: perGb(ours),
    bytes,
    bytesRatio: bytes / streamBytes,
  }
}

const figure = (value: Spread, divisor = 1): string => {
  const text = (number: number) => (number / divisor).toFixed(2)
  return `${text(value.median)} (${text(value.min)}-${text(value.max)})`
}

/** A Markdown table: medians, the spread in brackets. */
export const formatTransferRows = (rows: readonly TransferRow[]): string =>
  [
    '| data phase | floor, s | Drover, s | ratio | CPU s per GB: floor, Drover | bytes by `btrfs send` |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows.map((row) =>
      [
        '',
        row.name,
        figure(row.floorMs, 1000),
        figure(row.ms, 1000),
        `${figure(row.ratio)} of its ${row.ratioOf}`,
        `${row.cpuPerGb < 100 ? `${row.floorCpuPerGb.toFixed(1)}, ${row.cpuPerGb.toFixed(1)}` : '-'}`,
        row.bytesRatio.toFixed(3),
        '',
      ]
        .join(' | ')
        .trim(),
    ),
  ].join('\n')
