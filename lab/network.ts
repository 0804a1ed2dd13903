import { LabError, run } from './command.ts'
import type { ProcessRef } from './processes.ts'

/** Argument list that enters the network namespace which `holder` holds, and no other. */
const inNetworkOf = (holder: ProcessRef): string[] => ['nsenter', '--target', String(holder.pid), '--net', '--']

/** A bridge in a namespace of its own: on one of the machine's, an engine's firewall would judge the hosts' traffic. */
export const makeBridge = async (switchRef: ProcessRef): Promise<void> => {
  await run([...inNetworkOf(switchRef), 'ip', '-batch', '-'], {
    input: 'link add br0 type bridge\nlink set br0 up\nlink set lo up\n',
  })
}

/** The bridge's port is named after the host; the host's end is eth0. */
export const plugIn = async (
  switchRef: ProcessRef,
  hostRef: ProcessRef,
  host: string,
  address: string,
  prefixLength: number,
): Promise<void> => {
  await run([
    ...['ip', 'link', 'add', 'name', host, 'netns', String(switchRef.pid), 'type', 'veth'],
    ...['peer', 'name', 'eth0', 'netns', String(hostRef.pid)],
  ])
  await Promise.all([
    run([...inNetworkOf(switchRef), 'ip', '-batch', '-'], {
      input: `link set ${host} master br0\nlink set ${host} up\n`,
    }),
    run([...inNetworkOf(hostRef), 'ip', '-batch', '-'], {
      input: `addr add ${address}/${prefixLength} dev eth0\nlink set eth0 up\n`,
    }),
  ])
}

/** As a pulled cable: the host keeps its address and routes, what it sends goes nowhere and nobody is told. */
export const setLink = async (switchRef: ProcessRef, host: string, up: boolean): Promise<void> => {
  await run([...inNetworkOf(switchRef), 'ip', 'link', 'set', host, up ? 'up' : 'down'])
}

/** Limits both directions of a host's link to `mbit` megabits a second; null lifts it. */
export const limitLink = async (
  switchRef: ProcessRef,
  hostRef: ProcessRef,
  host: string,
  mbit: number | null,
): Promise<void> => {
  if (mbit !== null && !(mbit > 0)) throw new LabError(`a link cannot be limited to ${mbit} Mbit/s`)
  for (const [holder, device] of [
    [switchRef, host],
    [hostRef, 'eth0'],
  ] as const) {
    const tc = [...inNetworkOf(holder), 'tc', 'qdisc']
    if (mbit !== null) {
      // Offloaded packets are up to 64 KiB: a smaller bucket would drop them all.
      const burstKib = Math.max(256, Math.ceil((mbit * 1000) / 8 / 100))
      await run([
        ...tc,
        'replace',
        'dev',
        device,
        'root',
        'tbf',
        'rate',
        `${mbit}mbit`,
        'burst',
        `${burstKib}kb`,
        'latency',
        '50ms',
      ])
    } else if ((await run([...tc, 'show', 'dev', device, 'root'])).stdout.includes('tbf')) {
      await run([...tc, 'del', 'dev', device, 'root'])
    }
  }
}
