import type { Bench } from './context.ts'
import { writeGap } from './write-gap.ts'

/** All rows, in the order in which they are measured. */
export const benches: readonly Bench[] = [writeGap]
