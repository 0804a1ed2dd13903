import { existsSync } from 'node:fs'
import { until } from '../command.ts'

/** One of the two ends of a cable between two guests. */
export interface Link {
  /** A socket that is not there yet, of at most 100 characters: both ends name it. */
  readonly path: string
  /** The first waits for the second, and has to boot. */
  readonly end: 1 | 2
}

/** Frames go over a socket of this machine: no address, port or interface of it is touched. */
export const linkArgv = ({ path, end }: Link): string[] => [
  ...['-netdev', `stream,id=cable,server=${end === 1 ? 'on' : 'off'},addr.type=unix,addr.path=${path}`],
  ...['-device', `virtio-net-pci,netdev=cable,mac=52:54:00:77:00:1${end}`],
]

/** Who comes first would be refused, and end. @throws {LabError} */
export const linkReady = async ({ path, end }: Link): Promise<void> => {
  if (end === 1) return
  await until('the other guest to listen', () => (existsSync(path) ? true : null), { timeoutMs: 60_000 })
}
