import { chainTest } from './chain-test.ts'
import { everywhere, type Pair, pairTest } from './pair-test.ts'
import { kinds } from './pools.ts'

const all = kinds.flatMap((from) => kinds.map((to): Pair => [from, to]))
const isOneOfEach = ([from, to]: Pair) => everywhere.some((pair) => pair[0] === from && pair[1] === to)

for (const pair of all.filter((each) => !isOneOfEach(each))) pairTest(pair)

// Into a cloud, and out of it.
chainTest(['btrfs', 'ebs', 'zfs'])
