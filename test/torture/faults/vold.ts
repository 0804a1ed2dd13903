import type { LabHost } from '../../../lab/host.ts'
import { everywhere, type Fault, type Scene } from '../fault.ts'

const killed = (role: 'source' | 'target' | 'control', hostOf: (scene: Scene) => LabHost): Fault => ({
  name: `${role}-vold`,
  says: `kill -9 of vold on the ${role} host, started again soon`,
  notIn: everywhere,
  strike: async (scene) => {
    await hostOf(scene).killVold()
    return true
  },
  restarts: hostOf,
  mend: (scene) => hostOf(scene).startVold(),
  mended: 'soon',
  noWriterIn: [],
})

export const voldFaults = [
  killed('source', ({ source }) => source),
  killed('target', ({ target }) => target),
  killed('control', ({ control }) => control),
]
