import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Lab, type LabOptions } from '../lab/lab.ts'
import type { Section } from './report.ts'

export interface BenchContext {
  /** Small sizes and few repetitions: proves that it works, says nothing about speed. */
  readonly quick: boolean
  /** A directory of this run, on disk, seen by every lab host at the same path; removed at its end. */
  readonly directory: string
  readonly logLevel: string
  say(line: string): void
}

/** One row of the benchmark. */
export interface Bench {
  readonly name: string
  run(context: BenchContext): Promise<Section>
}

const labName = `bench-${process.pid}`

/** A lab for one row, with images loaded on both hosts, taken down whatever happens. */
export const withLab = async <T>(
  context: BenchContext,
  options: Omit<LabOptions, 'name' | 'voldFlags'>,
  work: (lab: Lab) => Promise<T>,
): Promise<T> => {
  const lab = await Lab.up({ ...options, name: labName, voldFlags: ['--log-level', context.logLevel] })
  try {
    return await work(lab)
  } finally {
    if (context.logLevel === 'debug') keepLogs(context, lab)
    await lab.down()
  }
}

/** Whatever is left of a lab that this process brought up. */
export const dropLab = (): Promise<void> => Lab.down(labName)

const keepLogs = (context: BenchContext, lab: Lab): void => {
  for (const host of lab.hosts) {
    const file = join('/var/tmp', `${labName}-${host.name}-vold-${Date.now()}.log`)
    writeFileSync(file, host.vold.log())
    context.say(`log of vold on ${host.name}: ${file}`)
  }
}

export const subdirectory = (context: BenchContext, name: string): string => {
  const base = join(context.directory, name)
  mkdirSync(base, { recursive: true })
  return mkdtempSync(join(base, 'run-'))
}
