import { chainTest } from '../vm/pairs/chain-test.ts'

/* Into the cloud and out of it, contents proved at every step. Out of EBS goes what the direct API reads, where the pools speak of blocks. */

chainTest(['btrfs', 'ebs', 'btrfs'])
chainTest(['loop', 'ebs', 'loop'])
