import { blockChainTest, chainTest } from './chain-test.ts'
import { ofEveryKernel, oneOfEach, type Pair, pairTest } from './pair-test.ts'
import { kinds } from './pools.ts'

const all = kinds.flatMap((from) => kinds.map((to): Pair => [from, to]))
const elsewhere = [...oneOfEach, ofEveryKernel]
const runsElsewhere = ([from, to]: Pair) => elsewhere.some((pair) => pair[0] === from && pair[1] === to)

for (const pair of all.filter((each) => !runsElsewhere(each))) pairTest(pair)

// Into a cloud, and out of it.
chainTest(['btrfs', 'ebs', 'zfs'])
blockChainTest('lvm-thin')
