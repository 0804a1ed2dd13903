import { changeFile, fillFile } from '../changed-file.ts'
import type { Bench } from '../context.ts'
import { subdirectory } from '../context.ts'
import { openDroverLink } from '../drover-link.ts'
import { figure, table } from '../report.ts'
import { shuffled, spreadOf } from '../statistics.ts'
import { run } from '../transfer-pools.ts'
import { makeVolume, openZfsPools } from './zfs-pools.ts'

/**
 * One dataset to another on this host, end to end: from before the snapshot until what arrived is proved and on disk. Syncoid (Debian's package
 * sanoid; newest snapshot only) goes through a local pipe and mbuffer; Drover as a round of a move does, over TCP on a trusted link.
 */
export const againstSyncoid: Bench = {
  name: 'syncoid',
  run: async (context) => {
    const mib = context.quick ? 8 : 256
    const changedMib = context.quick ? 2 : 32
    const repetitions = context.quick ? 1 : 3
    const directory = subdirectory(context, 'syncoid')
    const link = await openDroverLink()
    const pools = await openZfsPools(directory)
    const { source, target, zpool, plain } = pools
    const times = {
      'full syncoid': [],
      'full drover': [],
      'incremental syncoid': [],
      'incremental drover': [],
    } as Record<string, number[]>
    try {
      const volume = await makeVolume(pools, directory)
      const { id, dataset } = volume
      fillFile(volume.file, mib * 2 ** 20)
      const timed = async (work: () => Promise<void> | void): Promise<number> => {
        const startedAt = performance.now()
        await work()
        run('zpool', 'sync', zpool)
        return performance.now() - startedAt
      }
      const viaSyncoid = () => timed(() => void run('syncoid', '--quiet', '--no-stream', dataset, `${plain}/copy`))
      const viaDrover = (name: string, base: { name: string; streamUuid: string } | null) =>
        timed(async () => {
          const [sent, receive] = await Promise.all([
            source.snapshots.create(id, name, 'move'),
            target.streams.prepareReceive(id, 'bench', base?.streamUuid ?? null),
          ])
          const send = await source.streams.sendCommand(id, name, base?.name ?? null)
          await link.carry(send, receive, { plain: true })
          await target.streams.finishReceive(id, 'bench', name, sent.streamUuid)
        })
      const found = async (name: string) => {
        const snapshot = (await source.snapshots.list(id)).find((each) => each.name === name)
        if (snapshot === undefined) throw new Error(`there is no snapshot ${name}`)
        return snapshot
      }
      // The first of each is not counted: processes start, and files come into the cache.
      for (let repetition = -1; repetition < repetitions; repetition += 1) {
        const name = `r${repetition + 1}`
        for (const part of ['full', 'incremental'] as const) {
          if (part === 'incremental') changeFile(volume.file, mib * 2 ** 20, changedMib * 8, 131_072)
          for (const way of shuffled(['syncoid', 'drover'] as const)) {
            link.warm()
            run('zpool', 'wait', '-t', 'free', zpool)
            run('zpool', 'sync', zpool)
            const base = part === 'full' ? null : await found(`${name}-full`)
            const ms = await (way === 'syncoid' ? viaSyncoid() : viaDrover(`${name}-${part}`, base))
            context.say(`${part}, ${way}: ${Math.round(ms)} ms`)
            if (repetition >= 0) times[`${part} ${way}`]?.push(ms)
          }
        }
        run('zfs', 'destroy', '-r', `${plain}/copy`)
        for (const part of ['incremental', 'full']) await target.snapshots.destroy(id, `${name}-${part}`)
        await target.settled()
      }
      await volume.unmount()
    } finally {
      await link.close()
      await pools.close()
    }
    const seconds = (values: readonly number[]) => figure(spreadOf(values.map((ms) => ms / 1000)), 2)
    const parts = ['full', 'incremental'].map((part) => {
      const [theirs, ours] = [times[`${part} syncoid`] ?? [], times[`${part} drover`] ?? []]
      return { part, theirs, ours, ratio: spreadOf(ours.map((ms, index) => ms / (theirs[index] ?? Number.NaN))) }
    })
    return {
      title: `ZFS against syncoid, ${mib} MiB, ${changedMib} MiB of it changed, ${repetitions} times each in turn`,
      body: table(
        ['end to end', 'syncoid, s', 'Drover, s', 'ratio'],
        parts.map(({ part, theirs, ours, ratio }) => [
          part,
          seconds(theirs),
          seconds(ours),
          `${figure(ratio, 2)} of its time`,
        ]),
      ),
      verdicts: parts.map(({ part, ratio }) => ({
        what: `ZFS end to end, ${part}, against syncoid`,
        measured: `${figure(ratio, 2)} of its time`,
        goal: '≤ 1.00',
        holds: ratio.median <= 1,
      })),
    }
  },
}
