import { join } from 'node:path'
import { sleep, until } from '../lab/command.ts'
import type { Lab } from '../lab/lab.ts'
import { formatSize } from '../src/domain/units.ts'
import { largestGapMs, lostRecords, monotonicMs, readMarks, recordsBetween } from './acknowledged.ts'
import { type Bench, type BenchContext, subdirectory, withLab } from './context.ts'
import { type GapSample, gapSection } from './gap-section.ts'
import { fillVolume, isFull, moveVolume, otherHost, type Quiesce } from './moves.ts'
import { figure } from './report.ts'
import { shuffled, spreadOf } from './statistics.ts'
import { loadWriterImage, writerImage } from './writer-image.ts'

const gibibyte = 2 ** 30

interface Calm {
  /** Largest interval between acknowledgements in some seconds without a move. */
  readonly gapMs: number
  readonly bytesPerSecond: number
}

const recordBytes = 100_000

/** The interval without acknowledged writes that a client in a container sees when its volume moves, over the volume's size. */
export const writeGap: Bench = {
  name: 'write-gap',
  run: async (context) => {
    const sizes = context.quick ? [0.0625, 0.25] : [1, 2, 4]
    const movesEach = context.quick ? 2 : 6
    const pool = { poolBytes: context.quick ? 2 * gibibyte : 12 * gibibyte, images: ['busybox'] as const }
    const samples: GapSample[] = []
    const calm: Calm[] = []
    let lost = 0
    await withLab(context, pool, async (lab) => {
      await loadWriterImage(lab.hosts)
      for (const gib of shuffled(sizes)) lost += await oneSize(context, lab, gib, movesEach, samples, calm)
    })
    const section = gapSection('write gap', samples, [1000, 2000])
    const notes = [
      `Without a move, the largest interval between acknowledgements in three seconds was ${figure(spreadOf(calm.map(({ gapMs }) => gapMs)))} ms,`,
      `at ${figure(spreadOf(calm.map(({ bytesPerSecond }) => bytesPerSecond / 1e6)), 1)} MB/s. Acknowledged records that were missing afterwards: ${lost}.`,
    ]
    return {
      title: 'Write gap of a client that appends and fsyncs 10 MB/s in a container',
      body: `${section.body}\n\n${notes.join('\n')}`,
      verdicts: [
        ...section.verdicts,
        { what: 'acknowledged records missing after all moves', measured: String(lost), goal: '0', holds: lost === 0 },
      ],
    }
  },
}

/** @returns how many acknowledged records were missing */
const oneSize = async (
  context: BenchContext,
  lab: Lab,
  gib: number,
  movesEach: number,
  samples: GapSample[],
  calm: Calm[],
): Promise<number> => {
  const acks = subdirectory(context, 'acks')
  const file = join(acks, 'acknowledged')
  const volume = `gap-${String(gib).replace('.', '-')}`
  let host = lab.host1
  await fillVolume(host, volume, gib * gibibyte)
  await host.docker(
    ...['run', '--detach', '--name', 'writer', '--network', 'none', '--restart', 'unless-stopped'],
    ...['-v', `${volume}:/data`, '-v', `${acks}:/acks`, '--volume-driver', 'drover', writerImage],
  )
  await awaitRecords(file, 50)
  calm.push(await watchCalm(context, file))
  // The first is full, whichever it is: the order is drawn anew.
  const modes = shuffled(Array.from({ length: movesEach }, () => ['pause', 'stop'] as Quiesce[]).flat())
  for (const quiesce of modes) {
    const target = otherHost(lab, host)
    const fromMs = monotonicMs()
    const move = await moveVolume(lab, volume, target, quiesce)
    await awaitRecords(file, 50)
    const gapMs = largestGapMs(recordsBetween(readMarks(file), fromMs - 500, monotonicMs()))
    const full = isFull(move)
    samples.push({ gib, quiesce, full, gapMs, toldMs: move.downtimeMs, bytes: move.totalBytes })
    context.say(
      `${gib} GiB, ${quiesce}, to ${target.name}: gap ${gapMs.toFixed(0)} ms, told ${move.downtimeMs} ms, ` +
        `${formatSize(move.totalBytes)} in ${move.rounds.length} rounds${full ? ', full' : ''}`,
    )
    host = target
  }
  await host.docker('rm', '--force', 'writer')
  await host.docker('volume', 'rm', volume)
  return lostRecords(readMarks(file))
}

const awaitRecords = async (file: string, more: number): Promise<void> => {
  const count = () => readMarks(file).filter(({ kind }) => kind === 'record').length
  const before = count()
  await until(`${more} records acknowledged`, () => (count() >= before + more ? true : null), { intervalMs: 50 })
}

const watchCalm = async (context: BenchContext, file: string): Promise<Calm> => {
  const fromMs = monotonicMs()
  await sleep(context.quick ? 1000 : 3000)
  const toMs = monotonicMs()
  const records = recordsBetween(readMarks(file), fromMs, toMs)
  return { gapMs: largestGapMs(records), bytesPerSecond: (records.length * recordBytes * 1000) / (toMs - fromMs) }
}
