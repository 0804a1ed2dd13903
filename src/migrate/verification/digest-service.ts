import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backend, SnapshotFacet } from '../../backends/backend.ts'
import { asDroverError, DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Exec } from '../../lib/exec.ts'
import { diskFiles, ensureDirectory } from '../../lib/files.ts'
import { algorithm } from '../../lib/tree-digest/chunks.ts'
import { runOrder } from './digest-process.ts'
import { EndedProofs } from './ended-proofs.ts'
import { readChunks } from './progress-file.ts'
import type { DigestStatus, DigestTask, TreeDigests } from './tree-digests.ts'

interface Run {
  readonly volumeId: VolumeId
  readonly stop: AbortController
  readonly ended: Promise<void>
  status: DigestStatus
}

const beginningStatus: DigestStatus = {
  state: 'running',
  entries: 0,
  bytes: 0,
  digest: null,
  unreadable: [],
  error: null,
}

/** Progress is kept in `<data-dir>/verifications/`, a file for each verification. */
export const createTreeDigests = (parts: { exec: Exec; clock: Clock; dataDir: string }): TreeDigests => {
  const { exec, clock } = parts
  const directory = join(parts.dataDir, 'verifications')
  const runs = new Map<string, Run>()
  const stopAll = new AbortController()
  const over = new EndedProofs(diskFiles, join(directory, 'ended.json'))

  const fileOf = (id: string): string => {
    if (/^[a-z0-9.-]{1,120}$/.test(id) && !id.startsWith('.')) return join(directory, `${id}.jsonl`)
    throw new DroverError('BAD_REQUEST', `${JSON.stringify(id.slice(0, 64))} cannot name a verification`)
  }

  const start = (backend: Backend, task: DigestTask): Run => {
    const stop = new AbortController()
    const file = fileOf(task.verificationId)
    const read = async (): Promise<void> => {
      await ensureDirectory(directory)
      const facet = facetOf(backend)
      const of = JSON.stringify({ algorithm, ...task, uuid: await uuidOf(facet, task) })
      await facet.withPath(task.volumeId, task.snapshot, async (top) => {
        const outcome = await runOrder(exec, { kind: 'digest', top, file, of }, stop.signal, ({ entries, bytes }) => {
          run.status = { ...run.status, entries, bytes }
        })
        if (outcome.kind !== 'done') throw new DroverError('INTERNAL', `a digest was answered with ${outcome.kind}`)
        const { entries, bytes, digest, unreadable } = outcome
        run.status = { state: 'done', entries, bytes, digest, unreadable, error: null }
      })
    }
    const run: Run = {
      volumeId: task.volumeId,
      stop,
      status: beginningStatus,
      ended: Promise.resolve()
        .then(read)
        .catch((error: unknown) => {
          const { code, message } = asDroverError(error)
          run.status = { ...run.status, state: 'failed', error: { code, message } }
        }),
    }
    runs.set(task.verificationId, run)
    return run
  }

  return {
    async status(backend, task, waitMs) {
      const id = task.verificationId
      const run = await over.unlessEnded(id, () => runs.get(id) ?? start(backend, task))
      const timer = new AbortController()
      await Promise.race([run.ended, clock.sleep(waitMs, timer.signal).catch(() => undefined)])
      timer.abort()
      if (run.status.state === 'failed') runs.delete(id)
      return run.status
    },

    async chunks(verificationId, from, limit) {
      const found = await readChunks(fileOf(verificationId), from, limit)
      return found.map(({ start: { ordinal, segment }, digest }) => ({ ordinal, segment, digest }))
    },

    async items(backend, { volumeId, snapshot }, position) {
      const outcome = await facetOf(backend).withPath(volumeId, snapshot, (top) =>
        runOrder(exec, { kind: 'list', top, start: position }, stopAll.signal, () => {}),
      )
      if (outcome.kind !== 'items') throw new DroverError('INTERNAL', `a listing was answered with ${outcome.kind}`)
      return outcome.items
    },

    async end(verificationId) {
      await over.add(verificationId)
      const run = runs.get(verificationId)
      run?.stop.abort()
      await run?.ended
      runs.delete(verificationId)
      await rm(fileOf(verificationId), { force: true })
    },

    async kept() {
      const names = await diskFiles.list(directory).catch((): string[] => [])
      const ids = names.flatMap((name) => /^([a-z0-9.-]+)\.jsonl$/.exec(name)?.[1] ?? [])
      return ids.filter((id) => runs.get(id)?.status.state !== 'running')
    },

    busy: (volumeId) => [...runs.values()].some((run) => run.volumeId === volumeId && run.status.state === 'running'),

    close() {
      stopAll.abort()
      for (const { stop } of runs.values()) stop.abort()
    },
  }
}

const facetOf = (backend: Backend): SnapshotFacet => {
  if (backend.snapshots !== undefined) return backend.snapshots
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} has no snapshots`)
}

/** Another snapshot of the same name has another identity: what was read of the first does not count for it. */
const uuidOf = async (facet: SnapshotFacet, { volumeId, snapshot }: DigestTask): Promise<string | null> =>
  (await facet.list(volumeId)).find(({ name }) => name === snapshot)?.uuid ?? null
