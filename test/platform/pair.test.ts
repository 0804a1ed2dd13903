import { ofEveryKernel, pairTest } from '../vm/pairs/pair-test.ts'

// Of the pairs of kinds, see docs/vm-lab.md, the one that needs neither ZFS nor LVM.
pairTest(ofEveryKernel)
