import { realHands } from '../../test/contract/hands.ts'
import { changeFile, fillFile } from '../changed-file.ts'
import type { Bench } from '../context.ts'
import { subdirectory } from '../context.ts'
import { figure, table } from '../report.ts'
import { spreadOf } from '../statistics.ts'
import { run } from '../transfer-pools.ts'
import { makeVolume, openZfsPools } from './zfs-pools.ts'

const most = 12

/** Both processes of a ZFS transfer get SIGKILL when nine tenths have gone: how much of that goes again. */
export const killedAtNinety: Bench = {
  name: 'zfs-killed',
  run: async (context) => {
    const mib = context.quick ? 48 : 256
    const repetitions = context.quick ? 1 : 3
    const directory = subdirectory(context, 'zfs-killed')
    const pools = await openZfsPools(directory)
    const { source, target } = pools
    const shares: number[] = []
    try {
      const volume = await makeVolume(pools, directory)
      const { id } = volume
      fillFile(volume.file, mib * 2 ** 20)
      for (let repetition = 0; repetition < repetitions; repetition += 1) {
        const name = `k${repetition}`
        const { streamUuid } = await source.snapshots.create(id, name, 'move')
        const send = await source.streams.sendCommand(id, name, null)
        const [program, ...words] = send
        const whole = Number(run('sh', '-c', '"$@" | wc -c', 'sh', program, ...words))
        const cutAt = Math.floor(0.9 * whole)
        await realHands.cutOff(send, await target.streams.prepareReceive(id, 'bench'), cutAt)
        const rest = await target.streams.resuming.resumeReceive(id, 'bench', { streamUuid, baseUuid: null })
        if (rest === null) throw new Error('nothing was kept')
        const restSend = await source.streams.resuming.resumeSend(id, name, null, rest.token)
        const { codes, bytes } = await realHands.pipe(restSend, rest.argv)
        if (codes.some((code) => code !== 0)) throw new Error(`the rest ended with ${codes.join(' and ')}`)
        await target.streams.finishReceive(id, 'bench', name, streamUuid)
        const again = (100 * (cutAt + bytes - whole)) / whole
        context.say(`of ${whole} bytes cut at ${cutAt}, ${bytes} went after that: ${again.toFixed(1)}% again`)
        shares.push(again)
        await target.snapshots.destroy(id, name)
        await target.settled()
        changeFile(volume.file, mib * 2 ** 20, 8, 131_072)
      }
      await volume.unmount()
    } finally {
      await pools.close()
    }
    const again = spreadOf(shares)
    return {
      title: `ZFS transfer of ${mib} MiB whose processes, the receiving one too, are killed at 90%`,
      body: table(['sent again, % of the stream', 'times'], [[figure(again, 1), String(repetitions)]]),
      verdicts: [
        {
          what: 'ZFS transfer killed at 90%, sent again',
          measured: `${figure(again, 1)}% of the bytes`,
          goal: `≤ ${most}%`,
          holds: again.max <= most,
        },
      ],
    }
  },
}
