import { randomUUID } from 'node:crypto'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { childrenOf } from '../../lab/processes.ts'
import { kill } from './processes.ts'
import { dataDir, pool } from './stage.ts'

const descendants = (pid: number): number[] => childrenOf(pid).flatMap((child) => [child, ...descendants(child)])

/** Whatever a boot would not find: mounts of the engine, of `vold` and of the pool; what is in memory only. */
const forget = `set -e
awk '$2 ~ "^(/run/docker|/run/containerd|/var/lib/docker|${dataDir}|${pool})(/|$)" {print $2}' /proc/self/mounts | tac | while read -r path; do umount "$path"; done
rm -rf /run/docker/* /run/containerd /run/docker.pid /run/docker.sock /run/drover`

/** The host's power fails: all that runs on it ends at once, and nothing of it is mounted. Its disks stay as they are. */
export const powerOff = async (host: LabHost): Promise<void> => {
  const { pid: init } = host.init
  await until('the end of all processes', () => {
    // Its init waits in a sleep, which it starts again.
    const left = descendants(init).filter((pid) => kill(pid))
    return left.length <= 1 ? true : null
  })
  await until('the end of all mounts', async () =>
    (await host.tryExec(['sh', '-c', forget])).exitCode === 0 ? true : null,
  )
}

/** It boots: the pool is mounted, `vold` and then the engine start. */
export const powerOn = async (host: LabHost): Promise<void> => {
  // A namespace does not boot: the kernel's word of it is covered by another one.
  const boot = `umount /proc/sys/kernel/random/boot_id 2>/dev/null; echo ${randomUUID()} >/srv/boot_id
mount --bind /srv/boot_id /proc/sys/kernel/random/boot_id; mount -o loop,nodiscard ${pool}.img ${pool}`
  await host.exec(['sh', '-c', boot])
  await host.startVold()
  await host.startEngine()
}

/** A copy of the host's disks as they are at one instant. */
export const keepDisks = async (host: LabHost): Promise<void> => {
  const copy = `set -e; rm -rf ${pool}.old ${dataDir}.old; fsfreeze -f ${pool}
trap 'fsfreeze -u ${pool}' EXIT
cp --sparse=always ${pool}.img ${pool}.old; mkdir ${dataDir}.old; tar -C ${dataDir} --exclude=./mnt -c . | tar -C ${dataDir}.old -x`
  await host.exec(['bash', '-c', copy])
}

/** Puts that copy in their place; the host is off. */
export const rollBackDisks = async (host: LabHost): Promise<void> => {
  const put = `set -e; mv ${pool}.old ${pool}.img; rm -rf ${dataDir}; mv ${dataDir}.old ${dataDir}`
  await host.exec(['sh', '-c', put])
}

export const dropDisksKept = (host: LabHost) => host.exec(['rm', '-rf', `${pool}.old`, `${dataDir}.old`])
