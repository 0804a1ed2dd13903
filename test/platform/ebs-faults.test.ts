import { describe, expect, test } from 'vitest'
import { backendSuite } from '../contract/backend-suite.ts'
import { RandomFaults, randomFaultNames } from '../ec2/random-faults.ts'
import { strictPool } from '../ec2/strict-pool.ts'

/*
 * The suite of all pools where calls and what they begin go wrong as a seed has it: DROVER_EBS_SEEDS, one or more of them with commas between. After
 * each of its tests there never were two volumes of one device, what is not ours is untouched, and nothing is left. `npm run test:ebs-faults` runs many
 * seeds, and the pool that does not use the direct API, too.
 */

const seeds = (process.env.DROVER_EBS_SEEDS ?? '1').split(',').map(Number)
const kinds = process.env.DROVER_EBS_SEEDS === undefined ? [true] : [true, false]
const facets = { snapshots: true, streams: true, trees: true }
/** What a lost answer of these would leave twice, if it were asked for anew. */
const lost = ['CreateVolume', 'CreateSnapshot', 'AttachVolume', 'DetachVolume'].map(
  (action) => `lost reply of ${action}`,
)

for (const [seed, isDirect] of seeds.flatMap((each) => kinds.map((kind) => [each, kind] as const))) {
  const name = `ebs with faults of seed ${seed}${isDirect ? '' : ', without the direct API'}`
  describe(name, () => {
    // Of the two pools that a suite has each has its own.
    const made: RandomFaults[] = []
    const makePool = () => {
      const faults = new RandomFaults(seed * 2 + made.length)
      made.push(faults)
      return strictPool({ isDirect, faults })
    }
    backendSuite(name, makePool, facets)

    test('every fault was injected', () => {
      const count = (fault: string) => made.reduce((sum, { injected }) => sum + (injected.get(fault) ?? 0), 0)
      const wanted = [...randomFaultNames, ...lost, ...(isDirect ? ['damaged'] : [])]
      console.info(`${name}: ${wanted.map((fault) => `${fault} ${count(fault)}`).join(', ')}`)
      expect(wanted.filter((fault) => count(fault) === 0)).toEqual([])
    })
  })
}
