import { changeFile, fillFile } from '../changed-file.ts'
import type { Bench } from '../context.ts'
import { subdirectory } from '../context.ts'
import { openDroverLink } from '../drover-link.ts'
import { table } from '../report.ts'
import { run } from '../transfer-pools.ts'
import { makeVolume, openZfsPools } from './zfs-pools.ts'

const most = 1.3

/** A hundredth of a volume changed: what goes over Drover's link, against the bytes that `zfs send -c -L -i` writes. */
export const zfsOnePercent: Bench = {
  name: 'zfs-one-percent',
  run: async (context) => {
    const mib = context.quick ? 64 : 1024
    const directory = subdirectory(context, 'zfs-one-percent')
    const link = await openDroverLink()
    const pools = await openZfsPools(directory)
    const { source, target } = pools
    const changedBytes = Math.round(mib * 2 ** 20 * 0.01)
    const pieces = Math.round(changedBytes / 131_072)
    try {
      const volume = await makeVolume(pools, directory)
      const { id, dataset } = volume
      fillFile(volume.file, mib * 2 ** 20)
      const s1 = await source.snapshots.create(id, 's1', 'move')
      const whole = await target.streams.prepareReceive(id, 'bench')
      const { wireBytes: full } = await link.carry(await source.streams.sendCommand(id, 's1', null), whole, {
        plain: true,
      })
      await target.streams.finishReceive(id, 'bench', 's1', s1.streamUuid)
      changeFile(volume.file, mib * 2 ** 20, pieces, 131_072)
      const s2 = await source.snapshots.create(id, 's2', 'move')
      const nativeBytes = Number(run('sh', '-c', 'zfs send -c -L -i "$1@s1" "$1@s2" | wc -c', 'sh', dataset))
      const upon = await target.streams.prepareReceive(id, 'bench', s1.streamUuid)
      const sent = await link.carry(await source.streams.sendCommand(id, 's2', 's1'), upon, { plain: false })
      await target.streams.finishReceive(id, 'bench', 's2', s2.streamUuid)
      await volume.unmount()
      const ratio = sent.wireBytes / nativeBytes
      context.say(`whole ${full}, native ${nativeBytes}, on the wire ${sent.wireBytes}`)
      return {
        title: `ZFS: 1% of ${mib} MiB changed`,
        body: table(
          ['changed', '`zfs send -c -L -i`', 'on the wire, mutual TLS', 'ratio'],
          [[String(pieces * 131_072), String(nativeBytes), String(sent.wireBytes), ratio.toFixed(3)]],
        ),
        verdicts: [
          {
            what: `bytes on the wire, 1% of ${mib} MiB on ZFS, against the native tool`,
            measured: ratio.toFixed(3),
            goal: `≤ ${most.toFixed(2)}`,
            holds: ratio <= most,
          },
        ],
      }
    } finally {
      await link.close()
      await pools.close()
    }
  },
}
