import { chmodSync } from 'node:fs'
import { longestGap } from '../demo/notes.ts'
import { Writer } from '../demo/writer.ts'
import type { Lab } from '../lab/lab.ts'
import { formatSize } from '../src/domain/units.ts'
import { type Bench, type BenchContext, subdirectory, withLab } from './context.ts'
import { growDatabase, removeServer, sql, volume } from './database.ts'
import { type GapSample, gapSection } from './gap-section.ts'
import { isFull, moveVolume, otherHost, type Quiesce } from './moves.ts'
import { figure, table } from './report.ts'
import { type ServerTimes, serverTimes } from './server-log.ts'
import { shuffled, spreadOf } from './statistics.ts'

interface DatabaseSample extends GapSample {
  readonly server: ServerTimes
}

/** The same for PostgreSQL under a client that commits rows one after the other and finds it again on the other host. */
export const postgresGap: Bench = {
  name: 'postgres-gap',
  run: async (context) => {
    const sizes = context.quick ? [0.125, 0.25] : [1, 2, 4]
    const movesEach = context.quick ? 2 : 5
    const pool = { poolBytes: (context.quick ? 4 : 12) * 2 ** 30, images: ['busybox', 'postgres'] as const }
    const samples: DatabaseSample[] = []
    const missing = await withLab(context, pool, (lab) => walkAll(context, lab, sizes, movesEach, samples))
    const section = gapSection('PostgreSQL write gap', samples, [1000, 2000])
    return {
      title: 'Write gap of a client of PostgreSQL',
      body: [
        section.body,
        '',
        "What PostgreSQL's own log tells of it, all sizes together:",
        '',
        serverTable(samples),
        '',
        `Rows acknowledged to the client and missing afterwards: ${missing}.`,
      ].join('\n'),
      verdicts: [
        ...section.verdicts,
        {
          what: 'acknowledged rows missing after all walks',
          measured: String(missing),
          goal: '0',
          holds: missing === 0,
        },
      ],
    }
  },
}

/** @returns how many acknowledged rows were missing at the end */
const walkAll = async (
  context: BenchContext,
  lab: Lab,
  sizes: readonly number[],
  movesEach: number,
  samples: DatabaseSample[],
): Promise<number> => {
  const logs = subdirectory(context, 'pglog')
  chmodSync(logs, 0o777)
  let host = lab.host1
  const acknowledged = new Set<number>()
  // One database that grows: what is loaded first need not be loaded again.
  for (const size of sizes) {
    if (size !== sizes[0]) await removeServer(host)
    const gib = (await growDatabase(host, logs, size)) / 2 ** 30
    await sql(host, 'TRUNCATE walk')
    acknowledged.clear()
    const writer = new Writer(lab.host1, lab.hosts)
    try {
      await writer.awaitNotes(host, 100)
      const modes = shuffled(Array.from({ length: movesEach }, () => ['pause', 'stop'] as Quiesce[]).flat())
      for (const quiesce of modes) {
        const target = otherHost(lab, host)
        const first = Math.max(0, writer.notes().length - 1)
        const sinceMs = Date.now()
        const move = await moveVolume(lab, volume, target, quiesce)
        await writer.awaitNotes(target, 50)
        const gapMs = longestGap(writer.notes().slice(first))?.ms ?? Number.NaN
        const server = serverTimes(`${logs}/server.log`, sinceMs)
        const full = isFull(move)
        samples.push({ gib, quiesce, full, gapMs, toldMs: move.downtimeMs, bytes: move.totalBytes, server })
        context.say(
          `${gib.toFixed(2)} GiB, ${quiesce}, to ${target.name}: gap ${gapMs.toFixed(0)} ms, told ${move.downtimeMs} ms, shutdown ` +
            `${server.shutdownMs}, start ${server.startMs}, replay ${server.replayMs}; ${formatSize(move.totalBytes)} in ${move.rounds.length} rounds`,
        )
        host = target
      }
      for (const { number } of await writer.stop()) acknowledged.add(number)
    } finally {
      writer.dispose()
    }
    const rows = new Set((await sql(host, 'SELECT n FROM walk')).split('\n').map(Number))
    const missing = [...acknowledged].filter((number) => !rows.has(number)).length
    if (missing > 0) return missing
  }
  return 0
}

const serverTable = (samples: readonly DatabaseSample[]): string => {
  const cell = (quiesce: Quiesce, of: (server: ServerTimes) => number | null): string => {
    const values = samples.filter((sample) => sample.quiesce === quiesce).map(({ server }) => of(server))
    const known = values.filter((value) => value !== null)
    return known.length === 0 ? 'none' : figure(spreadOf(known))
  }
  const row = (quiesce: Quiesce) => [
    quiesce,
    cell(quiesce, ({ shutdownMs }) => shutdownMs),
    cell(quiesce, ({ replayMs }) => replayMs),
    cell(quiesce, ({ startMs }) => startMs),
  ]
  const head = ['quiesce', 'shutdown, ms', 'WAL replay, ms', 'start until it takes connections, replay included, ms']
  return table(head, [row('pause'), row('stop')])
}
