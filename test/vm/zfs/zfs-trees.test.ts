import { backendSuite } from '../../contract/backend-suite.ts'
import { makePool } from './pool-under-test.ts'

backendSuite('zfs', makePool, { snapshots: true, streams: true, trees: true, options: true }, ['trees'])
