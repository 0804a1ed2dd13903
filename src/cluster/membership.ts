import { join } from 'node:path'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import { clusterId } from '../domain/ids.ts'
import { diskFiles, type Files } from '../lib/files.ts'
import { KeyedMutex } from '../lib/mutex.ts'
import type { StoreIdentity } from '../state/store.ts'
import { clusterDirectory } from './identity-files.ts'

const storeShape = z.object({ storeId: z.string(), term: z.number(), commitSequence: z.number() })
const shape = z.object({
  formatVersion: z.literal(1),
  clusterId: z.string().transform(clusterId),
  members: z.array(z.custom<Host>((value) => typeof value === 'object' && value !== null && 'id' in value)),
  store: storeShape.nullable(),
})

type Contents = Omit<z.infer<typeof shape>, 'formatVersion'>

/** `behind`: the store is an older copy than this host has obeyed, or another one that nobody recovered. */
export type StoreVerdict = 'current' | 'behind'

/**
 * What this host knows of its cluster without the control role: the other hosts, and how far the store was that it obeyed.
 * On disk before a call returns.
 */
export class Membership {
  readonly #path: string
  readonly #directory: string
  readonly #files: Files
  readonly #mutex = new KeyedMutex<string>()
  #contents: Contents

  private constructor(directory: string, files: Files, contents: Contents) {
    this.#directory = directory
    this.#path = fileIn(directory)
    this.#files = files
    this.#contents = contents
  }

  /** What was noted of another cluster is void. @throws BAD_CONFIG when the file cannot be read */
  static async open(dataDir: string, cluster: ClusterId, files: Files = diskFiles): Promise<Membership> {
    const directory = clusterDirectory(dataDir)
    const stored = await load(fileIn(directory), files)
    const usable = stored !== null && stored.clusterId === cluster
    return new Membership(directory, files, usable ? stored : emptyOf(cluster))
  }

  get clusterId(): ClusterId {
    return this.#contents.clusterId
  }

  members(): readonly Host[] {
    return this.#contents.members
  }

  byId(id: HostId): Host | null {
    return this.#contents.members.find((host) => host.id === id) ?? null
  }

  byName(name: string): Host | null {
    return this.#contents.members.find((host) => host.name === name) ?? null
  }

  /** Takes over the table that the control role pushed. */
  setMembers(members: readonly Host[]): Promise<void> {
    return this.#change((contents) => ({ ...contents, members: [...members] }))
  }

  /** The furthest store that this host has obeyed; null before the first. */
  seenStore(): StoreIdentity | null {
    return this.#contents.store
  }

  /** To be called with every store identity that arrives, before it is obeyed; one that is ahead is noted. */
  async observe(identity: StoreIdentity): Promise<StoreVerdict> {
    let verdict: StoreVerdict = 'current'
    await this.#change((contents) => {
      verdict = compareStores(identity, contents.store)
      const same =
        contents.store?.storeId === identity.storeId &&
        contents.store.term === identity.term &&
        contents.store.commitSequence === identity.commitSequence
      if (verdict === 'behind' || same) return contents
      const { storeId, term, commitSequence } = identity
      return { ...contents, store: { storeId, term, commitSequence } }
    })
    return verdict
  }

  /** After a join: nothing of the old cluster is left. */
  reset(cluster: ClusterId): Promise<void> {
    return this.#change((contents) => (contents.clusterId === cluster ? contents : emptyOf(cluster)))
  }

  #change(next: (contents: Contents) => Contents): Promise<void> {
    return this.#mutex.run('', async () => {
      const contents = next(this.#contents)
      if (contents === this.#contents) return
      await this.#files.ensureDirectory(this.#directory)
      await this.#files.writeJsonDurably(this.#path, { formatVersion: 1, ...contents })
      this.#contents = contents
    })
  }
}

const fileIn = (directory: string) => join(directory, 'members.json')
const emptyOf = (cluster: ClusterId): Contents => ({ clusterId: cluster, members: [], store: null })

/** A later term outranks whatever came before it, of whichever store; within a term there is one store, and it only grows. */
export const compareStores = (found: StoreIdentity, seen: StoreIdentity | null): StoreVerdict => {
  if (seen === null || found.term > seen.term) return 'current'
  if (found.term < seen.term || found.storeId !== seen.storeId) return 'behind'
  return found.commitSequence < seen.commitSequence ? 'behind' : 'current'
}

const load = async (path: string, files: Files): Promise<Contents | null> => {
  const text = await files.readIfExists(path)
  if (text === null) return null
  try {
    return shape.parse(JSON.parse(text))
  } catch (error) {
    throw new DroverError(
      'BAD_CONFIG',
      `${path} cannot be read; restore it from a backup, or start a newer vold if that wrote it`,
      { cause: error },
    )
  }
}
