import { oneOfEach, pairTest } from './pair-test.ts'

for (const pair of oneOfEach) pairTest(pair)
