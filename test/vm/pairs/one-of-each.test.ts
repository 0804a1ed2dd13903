import { everywhere, pairTest } from './pair-test.ts'

for (const pair of everywhere) pairTest(pair)
