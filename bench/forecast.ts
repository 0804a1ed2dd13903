import { join } from 'node:path'
import { until } from '../lab/command.ts'
import type { LabHost } from '../lab/host.ts'
import type { Lab } from '../lab/lab.ts'
import { formatSize } from '../src/domain/units.ts'
import { largestGapMs, monotonicMs, readMarks, recordsBetween } from './acknowledged.ts'
import { type Bench, type BenchContext, subdirectory, withLab } from './context.ts'
import { fillVolume, moveVolume, otherHost } from './moves.ts'
import { table } from './report.ts'
import { loadWriterImage, writerImage } from './writer-image.ts'

const mebibyte = 2 ** 20
const counted = 10
const goal = 9
/** Forecasts learn from moves of the volume: the first ones have nothing to learn from, and are told beside the others. */
const learned = 2
const allowedError = 0.2

interface Sample {
  readonly to: string
  readonly dirtyBytes: number
  readonly finalBytes: number
  readonly forecastMs: number
  readonly measuredMs: number
  readonly gapMs: number
}

const isNear = ({ forecastMs, measuredMs }: Sample): boolean =>
  Math.abs(forecastMs - measuredMs) <= allowedError * measuredMs

/** The downtime that a move forecasts right before it stops the writers, against what it then measures. */
export const forecast: Bench = {
  name: 'forecast',
  run: async (context) => {
    const moves = learned + (context.quick ? 2 : counted)
    const samples: Sample[] = []
    await withLab(context, { poolBytes: 4 * 2 ** 30, images: ['busybox'] as const }, async (lab) => {
      await loadWriterImage(lab.hosts)
      const file = await startWriter(context, lab.host1)
      let host = lab.host1
      for (let index = 0; index < moves; index += 1) {
        const dirtyBytes = ((index * 37) % 8) * 32 * mebibyte
        if (dirtyBytes > 0) await fillVolume(host, volume, dirtyBytes)
        samples.push(await oneMove(context, lab, host, file, dirtyBytes))
        host = otherHost(lab, host)
      }
    })
    const rated = samples.slice(learned)
    const near = rated.filter(isNear).length
    const needed = context.quick ? 0 : goal
    return {
      title: 'Forecast of the downtime against what was measured',
      body: table(
        [
          'move to',
          'written before',
          'sent at the end',
          'forecast, ms',
          'measured, ms',
          'forecast / measured',
          'client, ms',
        ],
        samples.map((sample, index) => [
          `${sample.to}${index < learned ? ' (not counted)' : ''}`,
          formatSize(sample.dirtyBytes),
          formatSize(sample.finalBytes),
          String(sample.forecastMs),
          String(sample.measuredMs),
          (sample.forecastMs / sample.measuredMs).toFixed(2),
          sample.gapMs.toFixed(0),
        ]),
      ),
      verdicts: [
        {
          what: 'forecasts within 20% of the measured downtime',
          measured: `${near} of ${rated.length}`,
          goal: `${goal} of ${counted}`,
          holds: near >= needed,
        },
      ],
    }
  },
}

export const volume = 'forecast'

/** A client that writes 10 MB/s. @returns the file of its acknowledgements */
export const startWriter = async (context: BenchContext, host: LabHost): Promise<string> => {
  const acks = subdirectory(context, 'acks')
  await host.docker(
    ...['run', '--detach', '--name', 'writer', '--network', 'none', '--restart', 'unless-stopped'],
    ...['-v', `${volume}:/data`, '-v', `${acks}:/acks`, '--volume-driver', 'drover', writerImage],
  )
  const file = join(acks, 'acknowledged')
  await awaitRecords(file, 50)
  return file
}

export const awaitRecords = async (file: string, more: number): Promise<void> => {
  const count = () => readMarks(file).filter(({ kind }) => kind === 'record').length
  const before = count()
  await until(`${more} records acknowledged`, () => (count() >= before + more ? true : null), { intervalMs: 50 })
}

const oneMove = async (
  context: BenchContext,
  lab: Lab,
  host: LabHost,
  file: string,
  dirtyBytes: number,
): Promise<Sample> => {
  const target = otherHost(lab, host)
  const fromMs = monotonicMs()
  const move = await moveVolume(lab, volume, target, 'stop')
  await awaitRecords(file, 50)
  const sample = {
    to: target.name,
    dirtyBytes,
    finalBytes: move.rounds.at(-1)?.bytes ?? 0,
    forecastMs: move.forecastDowntimeMs ?? 0,
    measuredMs: move.downtimeMs ?? 0,
    gapMs: largestGapMs(recordsBetween(readMarks(file), fromMs - 500, monotonicMs())),
  }
  const phases = move.phaseTimes.map(({ phase, ms }) => `${phase} ${ms}`).join(', ')
  context.say(
    `to ${target.name}: forecast ${sample.forecastMs} ms, measured ${sample.measuredMs} ms, client ${sample.gapMs.toFixed(0)} ms; ${phases}`,
  )
  return sample
}
