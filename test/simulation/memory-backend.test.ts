import { backendSuite } from '../contract/backend-suite.ts'
import { makePool } from './memory-pool-under-test.ts'

backendSuite('in memory', makePool)
// As the suite runs where processes start slowly.
backendSuite('in memory, opened once for all tests', async () => ({ ...(await makePool()), staysOpen: true }))
