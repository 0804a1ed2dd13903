import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { LabHost } from '../../lab/host.ts'

/** Follows `vol events` on a host; the callback hears of every phase that a move enters, as it is journaled. */
export const watchPhases = async (
  host: LabHost,
  entered: (phase: string) => void,
): Promise<{ stop: () => Promise<void> }> => {
  const child: ChildProcess = host.spawn(['vol', '--json', 'events', '--follow'], ['ignore', 'pipe', 'ignore'])
  const ended = new Promise((resolve) => child.once('close', resolve))
  if (child.stdout === null) throw new Error('vol events has no output')
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    const event = JSON.parse(line)
    if (event.type === 'move.phase') entered(event.data.phase)
  })
  return {
    stop: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
