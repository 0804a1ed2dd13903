import { sleep, until } from '../lab/command.ts'
import type { Lab } from '../lab/lab.ts'
import type { MoveView } from '../src/control/control.ts'
import { monotonicMs, readMarks } from './acknowledged.ts'
import { type Bench, type BenchContext, withLab } from './context.ts'
import { awaitRecords, startWriter, volume } from './forecast.ts'
import { SocketClient } from './http.ts'
import { figure, table } from './report.ts'
import { spreadOf } from './statistics.ts'
import { loadWriterImage } from './writer-image.ts'

const goalMs = 2_000
/** After the phase was seen. */
const delaysMs = [0, 20, 60, 120, 200, 300, 400, 500]

interface Sample {
  readonly phase: string
  readonly ms: number
}

/** From a cancel to the first write that is acknowledged after it. */
export const undo: Bench = {
  name: 'undo',
  run: async (context) => {
    const rounds = context.quick ? 1 : 3
    const samples: Sample[] = []
    await withLab(context, { poolBytes: 2 * 2 ** 30, images: ['busybox'] as const }, async (lab) => {
      await loadWriterImage(lab.hosts)
      const file = await startWriter(context, lab.host1)
      const client = new SocketClient(lab.host1.path('/run/drover/vold.sock'))
      try {
        for (const delayMs of Array.from({ length: rounds }, () => delaysMs).flat()) {
          const sample = await cancelAfter(context, lab, client, file, delayMs)
          if (sample !== null) samples.push(sample)
        }
      } finally {
        client.close()
      }
    })
    const phases = [...new Set(samples.map(({ phase }) => phase))]
    const of = (phase: string) => samples.filter((sample) => sample.phase === phase).map(({ ms }) => ms)
    const worst = Math.max(...samples.map(({ ms }) => ms))
    return {
      title: 'Undo before commit: from the cancel to the first write acknowledged after it',
      body: table(
        ['cancelled in', 'how often', 'ms'],
        phases.map((phase) => [phase, String(of(phase).length), figure(spreadOf(of(phase)))]),
      ),
      verdicts: [
        {
          what: 'the writer runs again after a cancel, at worst',
          measured: `${worst.toFixed(0)} ms, ${samples.length} cancels`,
          goal: `${goalMs} ms`,
          holds: worst <= goalMs,
        },
      ],
    }
  },
}

/** Null: it had committed already, and the volume was moved back. */
const cancelAfter = async (
  context: BenchContext,
  lab: Lab,
  client: SocketClient,
  file: string,
  delayMs: number,
): Promise<Sample | null> => {
  const begun = await client.post(`/v1/volumes/${volume}/moves`, { to: 'host2' })
  const { id } = JSON.parse(begun.text) as MoveView
  const look = async (): Promise<MoveView> => JSON.parse((await client.call('GET', `/v1/moves/${id}`)).text)
  await until('the writers to be stopped', async () => ((await look()).quiescedAt === null ? null : true), {
    intervalMs: 2,
  })
  await sleep(delayMs)
  const { phase } = await look()
  const decidedMs = monotonicMs()
  const cancelled = await client.call('DELETE', `/v1/moves/${id}`)
  const ended = await until('the move to end', async () => {
    const move = await look()
    return ['done', 'aborted'].includes(move.state) ? move : null
  })
  await awaitRecords(file, 20)
  if (ended.state === 'done') {
    context.say(`${delayMs} ms after the writers were told to stop: too late (${cancelled.status})`)
    await lab.host1.vol('move', volume, '--to', 'host1')
    await awaitRecords(file, 20)
    return null
  }
  const first = readMarks(file).find(({ kind, atMs }) => kind === 'record' && atMs > decidedMs)
  const ms = (first?.atMs ?? Number.POSITIVE_INFINITY) - decidedMs
  context.say(`cancelled in ${phase}, ${delayMs} ms after the writers were told to stop: ${ms.toFixed(0)} ms`)
  return { phase, ms }
}
