import { defineConfig } from 'vitest/config'
import { suitesOfThisKernel } from './lab/vm/suites.ts'
import { isInAHurry } from './test/support/in-a-hurry.ts'

const minute = 60_000

const powerCuts = {
  test: {
    name: 'power-cuts',
    include: ['test/vm/power-cuts/**/*.test.ts'],
    testTimeout: 30 * minute,
    fileParallelism: false,
    sequence: { groupOrder: 5 },
  },
}

/** Two guests at once. */
const twoGuests = {
  test: {
    name: 'two-guests',
    include: ['test/vm/two-guests/**/*.test.ts'],
    testTimeout: 60 * minute,
    fileParallelism: false,
    sequence: { groupOrder: 6 },
  },
}

/** On a real account, by scripts/test-aws.sh alone. What takes a second on disks of this machine takes minutes there. */
const aws = {
  test: {
    name: 'aws',
    include: ['test/aws/**/*.test.ts'],
    testTimeout: 240 * minute,
    hookTimeout: 30 * minute,
    sequence: { groupOrder: 7 },
  },
}

/**
 * The suites, one after the other: what runs on real file systems and engines must not share the two cores of a small machine
 * with anything else. `unit` needs no root; the others do.
 */
export default defineConfig({
  test: {
    // What a suite's workers leave behind is theirs to clean: hooks get time for it.
    teardownTimeout: minute,
    ...(process.env.DROVER_TEST_MODULES === undefined ? {} : { fsModuleCachePath: process.env.DROVER_TEST_MODULES }),
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{unit,simulation,ec2}/**/*.test.ts'],
          testTimeout: minute,
          hookTimeout: minute,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 2 * minute,
          hookTimeout: 2 * minute,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'platform',
          include: ['test/platform/**/*.test.ts'],
          testTimeout: 3 * minute,
          hookTimeout: 3 * minute,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 10 * minute,
          hookTimeout: 5 * minute,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      ...suitesOfThisKernel().map((name) => ({
        test: {
          name,
          include: [`test/vm/${name}/**/*.test.ts`],
          testTimeout: 15 * minute,
          hookTimeout: 5 * minute,
          // Two at a time: in a guest most of the time goes into processes that start, one after the other.
          maxWorkers: isInAHurry ? 1 : 2,
          isolate: !isInAHurry,
          sequence: { groupOrder: 4 },
        },
      })),
      // They boot guests of their own: scripts/test-vm.sh has what that takes.
      ...(process.env.DROVER_VM === undefined ? [] : [powerCuts, twoGuests]),
      ...(process.env.DROVER_AWS === undefined ? [] : [aws]),
    ],
  },
})
