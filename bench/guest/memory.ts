import { childrenOf } from '../../lab/processes.ts'
import { fillFile } from '../changed-file.ts'
import type { Bench } from '../context.ts'
import { subdirectory } from '../context.ts'
import { openDroverLink } from '../drover-link.ts'
import { table } from '../report.ts'
import { residentOf } from '../resident.ts'
import { shuffled, spreadOf } from '../statistics.ts'
import { makeVolume, openZfsPools } from './zfs-pools.ts'

const tolerance = 1.1
const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`

/** Resident memory of all processes of a ZFS transfer in TLS, at both ends: the same for a small volume and a large one. */
export const zfsMemory: Bench = {
  name: 'zfs-memory',
  run: async (context) => {
    const sizes = context.quick ? [16, 64] : [64, 512]
    const repetitions = context.quick ? 1 : 2
    const directory = subdirectory(context, 'zfs-memory')
    const link = await openDroverLink()
    const pools = await openZfsPools(directory)
    const { source, target } = pools
    const peaks = new Map<number, number[]>(sizes.map((mib) => [mib, []]))
    try {
      const volumes = []
      for (const mib of sizes) {
        const volume = await makeVolume(pools, directory)
        fillFile(volume.file, mib * 2 ** 20)
        await source.snapshots.create(volume.id, 's', 'move')
        volumes.push({ mib, ...volume })
      }
      // The first grows with what is compiled in it, and is not counted.
      for (let repetition = -1; repetition < repetitions; repetition += 1) {
        for (const { mib, id } of shuffled(volumes)) {
          if (repetition < 0 && mib !== sizes[0]) continue
          link.warm()
          const send = await source.streams.sendCommand(id, 's', null)
          const receive = await target.streams.prepareReceive(id, 'bench')
          let peak = 0
          const look = () => {
            peak = Math.max(
              peak,
              childrenOf(process.pid).reduce((sum, pid) => sum + residentOf(pid), 0),
            )
          }
          const timer = setInterval(look, 200)
          await link.carry(send, receive, { plain: false }).finally(() => clearInterval(timer))
          await target.streams.abortReceive(id, 'bench')
          await target.settled()
          context.say(`${mib} MiB: ${mebibytes(peak)}`)
          if (repetition >= 0) peaks.get(mib)?.push(peak)
        }
      }
      for (const volume of volumes) await volume.unmount()
    } finally {
      await link.close()
      await pools.close()
    }
    const spreads = sizes.map((mib) => ({ mib, ...spreadOf(peaks.get(mib) ?? []) }))
    const [small, large] = [spreads[0], spreads.at(-1)]
    const ratio = (large?.median ?? Number.NaN) / (small?.median ?? Number.NaN)
    return {
      title: 'Memory of a ZFS transfer',
      body: table(
        ['full transfer in TLS of', 'resident at its peak, all processes of both ends'],
        spreads.map(({ mib, median, min, max }) => [
          `${mib} MiB`,
          `${mebibytes(median)} (${mebibytes(min)}-${mebibytes(max)})`,
        ]),
      ),
      verdicts: [
        {
          what: `peak resident of a ZFS transfer, ${large?.mib} MiB against ${small?.mib} MiB`,
          measured: `${ratio.toFixed(2)} times`,
          goal: `does not grow (≤ ${tolerance})`,
          holds: ratio <= tolerance,
        },
      ],
    }
  },
}
