import { changeFile, fillFile } from '../changed-file.ts'
import type { Bench } from '../context.ts'
import { subdirectory } from '../context.ts'
import { openDroverLink } from '../drover-link.ts'
import { figure, table, type Verdict } from '../report.ts'
import { inTls, plainly, throughSocat } from '../socat-pipe.ts'
import { shuffled, spreadOf } from '../statistics.ts'
import { run } from '../transfer-pools.ts'
import { makeVolume, openZfsPools } from './zfs-pools.ts'

const least = { plain: 0.9, tls: 1 }
const names = { plain: 'trusted link', tls: 'mutual TLS' }
type Mode = keyof typeof names
type Way = `${Mode} ${'socat' | 'drover'}`

/** `zfs send -L -c` to `zfs receive`: through Drover's transfer against socat, in plain and in TLS, whole and upon a base. */
export const zfsDataPhase: Bench = {
  name: 'zfs-data-phase',
  run: async (context) => {
    const mib = context.quick ? 16 : 128
    const changedMib = context.quick ? 8 : 48
    const repetitions = context.quick ? 1 : 5
    const directory = subdirectory(context, 'zfs-data-phase')
    const link = await openDroverLink()
    const pools = await openZfsPools(directory)
    const { source, target, zpool, plain } = pools
    const addresses = { plain: plainly, tls: inTls(directory, link.identities) }
    const times = new Map<string, number[]>()
    try {
      const volume = await makeVolume(pools, directory)
      const { id } = volume
      fillFile(volume.file, mib * 2 ** 20)
      const s1 = await source.snapshots.create(id, 's1', 'move')
      const measure = async (part: string, base: typeof s1 | null, sent: typeof s1): Promise<void> => {
        const send = await source.streams.sendCommand(id, sent.name, base?.name ?? null)
        const into = `${plain}/${base === null ? sent.name : base.name}`
        const viaSocat = async (mode: Mode): Promise<number> => {
          const startedAt = performance.now()
          const took = await throughSocat(addresses[mode], send, ['zfs', 'receive', '-s', '-u', into])
          const waited = performance.now() - startedAt - took
          run('zpool', 'sync', zpool)
          const ms = performance.now() - startedAt - waited
          if (base === null) run('zfs', 'destroy', '-r', into)
          else run('zfs', 'rollback', '-r', `${into}@${base.name}`)
          return ms
        }
        const viaDrover = async (mode: Mode): Promise<number> => {
          const receive = await target.streams.prepareReceive(id, 'bench', base?.streamUuid ?? null)
          const startedAt = performance.now()
          await link.carry(send, receive, { plain: mode === 'plain' })
          run('zpool', 'sync', zpool)
          const ms = performance.now() - startedAt
          await target.streams.abortReceive(id, 'bench')
          await target.settled()
          return ms
        }
        const ways: readonly Way[] = ['plain socat', 'plain drover', 'tls socat', 'tls drover']
        // The first of each starts processes and compiles, and is not counted.
        for (let repetition = -1; repetition < repetitions; repetition += 1) {
          for (const way of shuffled(ways)) {
            link.warm()
            run('zpool', 'wait', '-t', 'free', zpool)
            run('zpool', 'sync', zpool)
            const mode: Mode = way.startsWith('plain') ? 'plain' : 'tls'
            const ms = await (way.endsWith('socat') ? viaSocat(mode) : viaDrover(mode))
            context.say(`${part}, ${way}: ${Math.round(ms)} ms`)
            if (repetition >= 0) times.set(`${part} ${way}`, [...(times.get(`${part} ${way}`) ?? []), ms])
          }
        }
      }
      await measure('full', null, s1)
      // What upon goes upon: once for each.
      const floorBase = ['zfs', 'receive', '-u', `${plain}/s1`] as const
      await throughSocat(plainly, await source.streams.sendCommand(id, 's1', null), floorBase)
      await link.carry(
        await source.streams.sendCommand(id, 's1', null),
        await target.streams.prepareReceive(id, 'bench'),
        { plain: true },
      )
      await target.streams.finishReceive(id, 'bench', 's1', s1.streamUuid)
      changeFile(volume.file, mib * 2 ** 20, changedMib * 8, 131_072)
      await measure('incremental', s1, await source.snapshots.create(id, 's2', 'move'))
      await volume.unmount()
    } finally {
      await link.close()
      await pools.close()
    }
    const rows: string[][] = []
    const verdicts: Verdict[] = []
    for (const part of ['full', 'incremental'])
      for (const mode of ['plain', 'tls'] as const) {
        const [floor, ours] = [times.get(`${part} ${mode} socat`) ?? [], times.get(`${part} ${mode} drover`) ?? []]
        const ratio = spreadOf(ours.map((ms, index) => (floor[index] ?? Number.NaN) / ms))
        const what = `${part}, ${names[mode]}`
        const seconds = (values: readonly number[]) => figure(spreadOf(values.map((ms) => ms / 1000)), 2)
        rows.push([what, seconds(floor), seconds(ours), `${figure(ratio, 2)} of its rate`])
        verdicts.push({
          what: `ZFS data phase, ${what}, against socat`,
          measured: `${figure(ratio, 2)} of its rate`,
          goal: `≥ ${least[mode].toFixed(2)}`,
          holds: ratio.median >= least[mode],
        })
      }
    const title = `ZFS: ${mib} MiB in one file, ${changedMib} MiB of it changed, ${repetitions} times each in turn`
    return { title, body: table(['data phase', 'socat, s', 'Drover, s', 'ratio'], rows), verdicts }
  },
}
