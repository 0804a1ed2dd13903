import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Bench, subdirectory } from './context.ts'
import { openDroverLink } from './drover-link.ts'
import { figure, table } from './report.ts'
import { inTls, throughSocat } from './socat-pipe.ts'
import { shuffled, spreadOf } from './statistics.ts'
import { type Job, receiveArgv, sendArgvOf } from './transfer-methods.ts'
import { fillSubvolume, openPools, removeSubvolumes, run, snapshot } from './transfer-pools.ts'

/** The same stream encrypted by both: Drover's mutual TLS against socat's OpenSSL. */
export const tlsFloor: Bench = {
  name: 'tls-floor',
  run: async (context) => {
    const mib = context.quick ? 64 : 1024
    const repetitions = context.quick ? 1 : 5
    const directory = subdirectory(context, 'tls-floor')
    const link = await openDroverLink()
    const pools = openPools(directory, Math.ceil(mib * 2.2 + 512) * 2 ** 20)
    const times: Record<'socat' | 'drover', number[]> = { socat: [], drover: [] }
    const viaDrover = async (job: Job): Promise<number> => {
      const startedAt = performance.now()
      await link.carry(sendArgvOf(job), receiveArgv(job), { plain: false })
      return performance.now() - startedAt
    }
    try {
      const [live, base] = [join(pools.source, 'live'), join(pools.source, 'base')]
      const into = join(pools.target, 'in')
      mkdirSync(into)
      fillSubvolume(live, 1, mib * 2 ** 20)
      snapshot(live, base)
      const job = { snapshot: base, parent: null, into }
      const addresses = inTls(directory, link.identities)
      // The first of each warms caches and compilers, and is not counted.
      for (let repetition = -1; repetition < repetitions; repetition += 1) {
        for (const way of shuffled(['socat', 'drover'] as const)) {
          link.warm()
          run('sync')
          const took = await (way === 'socat'
            ? throughSocat(addresses, sendArgvOf(job), receiveArgv(job))
            : viaDrover(job))
          const syncAt = performance.now()
          run('sync', '-f', into)
          const ms = took + performance.now() - syncAt
          removeSubvolumes(pools.target, join(into, 'base'))
          context.say(`${mib} MiB, ${way}: ${Math.round(ms)} ms`)
          if (repetition >= 0) times[way].push(ms)
        }
      }
    } finally {
      await link.close()
      pools.close()
    }
    const ratio = spreadOf(times.drover.map((ms, index) => (times.socat[index] ?? Number.NaN) / ms))
    const row = (name: string, values: readonly number[]) => [name, figure(spreadOf(values))]
    return {
      title: 'TLS',
      body: table(
        [`full, one file of ${mib} MiB on btrfs, ${repetitions} times each in turn`, 'ms'],
        [row("socat's OpenSSL, both ends proved", times.socat), row('Drover, mutual TLS', times.drover)],
      ),
      verdicts: [
        {
          what: "data phase in TLS, one file, against the same through socat's OpenSSL",
          measured: `${figure(ratio, 2)} of its rate`,
          goal: '≥ 1.00',
          holds: ratio.median >= 1,
        },
      ],
    }
  },
}
