import { backendSuite } from '../contract/backend-suite.ts'
import { strictPool } from '../ec2/strict-pool.ts'

const facets = { snapshots: true, streams: true, trees: true }
backendSuite('ebs, on the strict EC2 server', () => strictPool(), facets)
backendSuite('ebs, file by file by local images', () => strictPool({ isStaged: true }), facets)
backendSuite('ebs, without the direct API', () => strictPool({ isDirect: false }), facets)
