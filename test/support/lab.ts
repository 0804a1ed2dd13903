import { afterAll, beforeAll } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'

/** A lab shared by the tests of one file; its parts can be used once tests run. */
export interface SharedLab {
  readonly lab: Lab
  readonly host1: LabHost
  readonly host2: LabHost
  host(name: string): LabHost
}

/**
 * Brings a lab up before the tests of this file and takes it down after them, also when they fail. Its name carries the
 * process, so that two runs on one machine do not meet; what a killed run left is swept by the next lab that comes up.
 */
export const useLab = (name: string, options: Omit<LabOptions, 'name'> = {}): SharedLab => {
  let lab: Lab | null = null
  const up = (): Lab => {
    if (lab === null) throw new Error('the lab is up in tests and hooks only')
    return lab
  }
  beforeAll(async () => {
    lab = await Lab.up({ ...options, name: `${name}-${process.pid}` })
  }, 300_000)
  afterAll(async () => {
    if (process.env.DROVER_LAB_KEEP === undefined) await lab?.down()
  }, 120_000)
  return {
    get lab() {
      return up()
    },
    get host1() {
      return up().host1
    },
    get host2() {
      return up().host2
    },
    host: (hostName) => up().host(hostName),
  }
}
