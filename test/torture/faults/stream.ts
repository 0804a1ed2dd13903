import { sleep } from '../../../lab/command.ts'
import type { Fault, Scene } from '../fault.ts'
import { kill, streamCommands, transferProcesses } from '../processes.ts'

const waitMs = 3_000
const sides = { send: 'source', receive: 'target' } as const

/** What it is about comes and goes within the phase: waited for, then killed at once. */
const strikeOne = async (find: () => readonly { pid: number }[]): Promise<boolean> => {
  const end = performance.now() + waitMs
  while (performance.now() < end) {
    for (const { pid } of find()) if (kill(pid)) return true
    await sleep(2)
  }
  return false
}

const common = { mend: async () => {}, mended: 'soon', noWriterIn: [] } as const

const commandKilled = (end: 'send' | 'receive'): Fault => ({
  ...common,
  name: `${end}-command`,
  says: `kill -9 of btrfs ${end}`,
  notIn: (phase) => (['precopy', 'delta'].includes(phase) ? null : `btrfs ${end} runs in precopy and delta only`),
  strike: (scene: Scene) => strikeOne(() => streamCommands(scene[sides[end]])),
})

const processKilled = (end: 'send' | 'receive'): Fault => ({
  ...common,
  name: `${end}-process`,
  says: `kill -9 of the transfer process on the ${sides[end]}, which carries the stream or is kept for the next`,
  notIn: () => null,
  strike: (scene: Scene) => strikeOne(() => transferProcesses(scene[sides[end]])),
})

export const streamFaults = [
  commandKilled('send'),
  processKilled('send'),
  commandKilled('receive'),
  processKilled('receive'),
]
