import { everywhere, type Fault } from '../fault.ts'

const killed = (role: 'source' | 'target'): Fault => ({
  name: `${role}-engine`,
  says: `kill -9 of dockerd on the ${role} host, started again soon`,
  notIn: everywhere,
  strike: async (scene) => {
    await scene[role].engine.stop('SIGKILL')
    return true
  },
  mend: (scene) => scene[role].startEngine(),
  mended: 'soon',
  noWriterIn: [],
})

export const engineFaults = [killed('source'), killed('target')]
