import type { Phase } from '../../../src/domain/move.ts'
import type { Fault } from '../fault.ts'
import { dropDisksKept, keepDisks, powerOff, powerOn, rollBackDisks } from '../power.ts'

const rolledBack = (role: 'source' | 'target', notIn: (phase: Phase) => string | null): Fault => ({
  name: `${role}-disk-old`,
  says: `the ${role} host's power fails, and it boots with pool and data directory as they were before the move`,
  notIn,
  prepare: async ({ [role]: host, afterwards }) => {
    afterwards.push(() => dropDisksKept(host))
    await keepDisks(host)
  },
  strike: async ({ [role]: host }) => {
    await powerOff(host)
    await rollBackDisks(host)
    return true
  },
  mend: ({ [role]: host }) => powerOn(host),
  mended: 'soon',
  noWriterIn: [],
  ...(role === 'source' ? { leavesCopyOn: role } : {}),
})

const lost = 'it owns the volume: what was written since the copy is gone with the disk'

export const diskFaults = [
  rolledBack('source', (phase) => (['commit', 'activate', 'retire'].includes(phase) ? null : lost)),
  rolledBack('target', (phase) => (['activate', 'retire'].includes(phase) ? lost : null)),
]
