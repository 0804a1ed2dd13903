import type { ContainerSpec } from '../containers/runtime.ts'
import type { SourceJournal } from './move-journal.ts'
import type { SourceParts } from './source-parts.ts'
import { restoreAll } from './writers.ts'

/** An engine may refuse once what it does a moment later (a port, an address or a name that is not free yet). */
const pausesMs = [500, 1_000, 2_000]

/**
 * Puts the writers back. What the engine refuses is tried again, by itself, for what runs already may have ended since; what it refuses
 * still is kept whole beside the journal, which the move will drop: one that was made with `--rm` is nowhere else any more.
 * @returns what was refused, a line each, and where it is kept
 */
export const bringBack = async ({ host, runtime, journal }: SourceParts, noted: SourceJournal): Promise<string[]> => {
  const { moveId } = noted.command
  const make = (spec: ContainerSpec) => runtime.create(spec, spec.name, moveId, [])
  let refused = await restoreAll(runtime, host.clock, noted, make)
  for (const pauseMs of pausesMs) {
    if (refused.length === 0) break
    await host.clock.sleep(pauseMs)
    const left = { ...noted, specs: refused.map(({ spec }) => spec), killed: false, stopping: false }
    refused = await restoreAll(runtime, host.clock, left, make)
  }
  if (refused.length === 0) {
    await journal.drop(moveId, 'refused')
    return []
  }
  const specs = refused.map(({ spec }) => spec)
  const path = await journal.keepRefused(moveId, specs)
  const kept = `what they were made of is kept on host ${host.identity.hostName} in ${path}`
  return [...refused.map(({ line }) => line), kept]
}
