import type { Clock } from '../../../../lib/clock.ts'
import { CallBudget } from '../budget.ts'

/** The direct API counts by itself, for the whole account: AWS's default is 1,000 blocks a second. */
export const directBudget = (clock: Clock): CallBudget => new CallBudget(clock, { burst: 64, perSecond: 300 })
