import type { LabHost } from '../lab/host.ts'
import type { Lab } from '../lab/lab.ts'
import type { MoveView } from '../src/control/control.ts'

export type Quiesce = 'pause' | 'stop'

/** `vol move` to its end. @returns the move as the API tells it @throws {LabError} when it fails */
export const moveVolume = async (lab: Lab, volume: string, to: LabHost, quiesce: Quiesce): Promise<MoveView> => {
  await lab.host1.vol('move', volume, '--to', to.name, '--quiesce', quiesce)
  const moves = JSON.parse(await lab.host1.vol('--json', 'moves', '--volume', volume)) as MoveView[]
  const latest = moves.toSorted((a, b) => a.startedAt.localeCompare(b.startedAt)).at(-1)
  if (latest === undefined) throw new Error(`vol moves lists no move of ${volume}`)
  return latest
}

/** The other of two hosts. */
export const otherHost = (lab: Lab, host: LabHost): LabHost => (host.name === 'host1' ? lab.host2 : lab.host1)

export const isFull = (move: MoveView): boolean => move.rounds.some(({ base }) => base === null)

/** Random bytes into a volume, in files of at most 256 MiB, by a container that goes. */
export const fillVolume = async (host: LabHost, volume: string, bytes: number): Promise<void> => {
  const mebibytes = Math.round(bytes / 2 ** 20)
  const script = [
    'left=$1; n=0; while [ $left -gt 0 ]; do size=$((left < 256 ? left : 256))',
    'dd if=/dev/urandom of=/data/random-$n bs=1M count=$size 2>/dev/null || exit 1',
    'left=$((left - size)); n=$((n + 1)); done; sync',
  ].join('\n')
  await host.exec(
    [
      ...['docker', 'run', '--rm', '-v', `${volume}:/data`, '--volume-driver', 'drover', 'busybox'],
      ...['sh', '-c', script, 'sh', String(mebibytes)],
    ],
    { timeoutMs: 600_000 },
  )
}
