import { backendSuite } from '../../contract/backend-suite.ts'
import { makePool } from './pool-under-test.ts'

backendSuite('lvm-thin', makePool, { snapshots: true, streams: true, trees: true, resuming: true }, ['resuming'])
