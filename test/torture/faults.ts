import type { Fault } from './fault.ts'
import { diskFaults } from './faults/disk.ts'
import { engineFaults } from './faults/engine.ts'
import { linkFaults } from './faults/link.ts'
import { spaceFaults } from './faults/space.ts'
import { stateFaults } from './faults/state.ts'
import { streamFaults } from './faults/stream.ts'
import { voldFaults } from './faults/vold.ts'
import { wireFaults } from './faults/wire.ts'

/** Every fault of the campaign, in the order of its table. */
export const faults: readonly Fault[] = [
  ...voldFaults,
  ...streamFaults,
  ...engineFaults,
  ...linkFaults,
  ...spaceFaults,
  ...wireFaults,
  ...stateFaults,
  ...diskFaults,
]
