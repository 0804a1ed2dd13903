import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, startHost } from '../test/unit/transfer/hosts.ts'
import { startBareTransfer } from './bare-transfer.ts'
import { type Bench, subdirectory } from './context.ts'
import { figure, table } from './report.ts'
import { shuffled, spreadOf } from './statistics.ts'
import { droverTransfer, type Method } from './transfer-methods.ts'
import { fillSubvolume, openPools, removeSubvolumes, run, snapshot } from './transfer-pools.ts'

const most = 1.1

/** What the session (frames, acknowledgements, replay window) and the digest add to the data phase over TLS. */
export const sessionCost: Bench = {
  name: 'session-cost',
  run: async (context) => {
    const mib = context.quick ? 64 : 1024
    const repetitions = context.quick ? 2 : 7
    const authority = await createAuthority('bench')
    const identities = { a: await authority.issue('a'), b: await authority.issue('b') }
    const a = await startHost(identities.a)
    const b = await startHost(identities.b)
    const bare = startBareTransfer(identities)
    const pools = openPools(subdirectory(context, 'session'), Math.ceil(mib * 2.2 + 512) * 2 ** 20)
    const times: Record<'bare' | 'session', number[]> = { bare: [], session: [] }
    try {
      const live = join(pools.source, 'live')
      const base = join(pools.source, 'base')
      const into = join(pools.target, 'in')
      mkdirSync(into)
      fillSubvolume(live, 1, mib * 2 ** 20)
      snapshot(live, base)
      const methods: readonly (readonly ['bare' | 'session', Method])[] = [
        ['bare', bare.method],
        ['session', droverTransfer(a, b, false)],
      ]
      // The first of each warms caches and compilers, and is not counted.
      for (let repetition = -1; repetition < repetitions; repetition += 1) {
        for (const [name, method] of shuffled(methods)) {
          run('sync')
          const { ms } = await method({ snapshot: base, parent: null, into })
          removeSubvolumes(pools.target, join(into, 'base'))
          context.say(`${mib} MiB, ${name}: ${Math.round(ms)} ms`)
          if (repetition >= 0) times[name].push(ms)
        }
      }
    } finally {
      bare.close()
      await a.service.close()
      await b.service.close()
      pools.close()
    }
    const ratio = spreadOf(times.session.map((ms, index) => ms / (times.bare[index] ?? Number.NaN)))
    const row = (name: string, values: readonly number[]) => [name, figure(spreadOf(values))]
    return {
      title: 'What session and digest cost',
      body: table(
        [`full, one file of ${mib} MiB over mutual TLS, ${repetitions} times each in turn`, 'ms'],
        [row('a TLS pipe: no frames, digest, acknowledgements', times.bare), row('Drover', times.session)],
      ),
      verdicts: [
        {
          what: 'data phase with session and digest, against a TLS pipe',
          measured: `${figure(ratio, 2)} of its time`,
          goal: `≤ ${most.toFixed(2)}`,
          holds: ratio.median <= most,
        },
      ],
    }
  },
}
