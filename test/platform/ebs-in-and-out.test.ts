import { blockChainTest, chainTest } from '../vm/pairs/chain-test.ts'

/* Into the cloud and out of it, contents proved at every step. */

chainTest(['btrfs', 'ebs', 'btrfs'])
blockChainTest('loop')
