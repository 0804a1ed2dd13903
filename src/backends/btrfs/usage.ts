import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import { readIfExists } from '../../lib/files.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'
import type { ListedSubvolume } from './parse.ts'
import { placeOf } from './pool-check.ts'
import { withProbe } from './probe.ts'
import type { Trash } from './trash.ts'

/** A listing waits this long for new figures, then answers with those it has. */
const patienceMs = 250

/**
 * Bytes by volume with two commands for any number of volumes. With quotas the kernel has counted. Without, `du` counts in the
 * background, once for each generation of a dataset; a volume that was not counted yet is left out of the answer.
 */
export class Usage {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #trash: Trash
  readonly #clock: Clock
  readonly #known = new Map<number, { generation: number; bytes: number }>()
  readonly #probing = new KeyedMutex<VolumeId>()
  readonly #closing = new AbortController()
  #counting: Promise<void> | null = null

  constructor(layout: Layout, command: BtrfsCommand, trash: Trash, clock: Clock) {
    this.#layout = layout
    this.#command = command
    this.#trash = trash
    this.#clock = clock
  }

  async of(ids: readonly VolumeId[]): Promise<Map<VolumeId, number>> {
    const [wanted, groups] = await Promise.all([this.#datasetsOf(ids), this.#command.qgroups(this.#layout.where)])
    if (groups !== null) {
      const counted = new Map(groups.map((group) => [group.subvolumeId, group.referencedBytes]))
      return new Map(wanted.map(({ id, dataset }) => [id, counted.get(dataset.id) ?? 0]))
    }
    const stale = wanted.filter(({ dataset }) => this.#known.get(dataset.id)?.generation !== dataset.generation)
    if (stale.length > 0) await this.#count(stale)
    return new Map(
      wanted.flatMap(({ id, dataset }) => {
        const bytes = this.#known.get(dataset.id)?.bytes
        return bytes === undefined ? [] : [[id, bytes]]
      }),
    )
  }

  /** Synced; a listing's patience does not count here. A volume whose files cannot be counted is an error, not a zero. */
  async exactly(ids: readonly VolumeId[]): Promise<Map<VolumeId, number>> {
    const groups = await this.#command.qgroups(this.#layout.where, { exact: true })
    const counted = new Map(groups?.map((group) => [group.subvolumeId, group.referencedBytes]))
    const found = new Map<VolumeId, number>()
    for (const { id, dataset } of await this.#datasetsOf(ids)) {
      found.set(id, counted.get(dataset.id) ?? (await this.#countNow(id, dataset)))
    }
    return found
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#counting
  }

  async #datasetsOf(ids: readonly VolumeId[]): Promise<{ id: VolumeId; dataset: Dataset }[]> {
    const place = await placeOf(this.#layout.where)
    const listed = await this.#command.list(this.#layout.where, 'all')
    const datasets = datasetsByVolume(listed, `${place.root}/volumes/`.slice(1))
    return ids.flatMap((id) => {
      const dataset = datasets.get(id)
      return dataset === undefined ? [] : [{ id, dataset }]
    })
  }

  /** Files that are still being written to take no room yet, in a snapshot they do. */
  #countNow(id: VolumeId, dataset: Dataset): Promise<number> {
    const count = async (path: string) => {
      const bytes = (await this.#command.diskUsage([path], this.#closing.signal)).get(path)
      if (bytes !== undefined) return bytes
      throw new DroverError('INTERNAL', `the files of volume ${id} could not be counted at ${path}; try again`)
    }
    if (dataset.below !== 'live') return count(join(this.#layout.volume(id), dataset.below))
    const parts = { layout: this.#layout, command: this.#command, trash: this.#trash }
    return this.#probing.run(id, () => withProbe(parts, id, 'usage', count))
  }

  async #count(stale: readonly { id: VolumeId; dataset: Dataset }[]): Promise<void> {
    // Reading directories would set their access times, which is a change that the unchanged proof would see.
    if (!(await mountedNoatime(this.#layout.where))) return
    this.#counting ??= this.#run(stale).finally(() => {
      this.#counting = null
    })
    const enough = new AbortController()
    await Promise.race([this.#counting, this.#clock.sleep(patienceMs, enough.signal).catch(() => undefined)])
    enough.abort()
  }

  async #run(stale: readonly { id: VolumeId; dataset: Dataset }[]): Promise<void> {
    const paths = new Map(stale.map(({ id, dataset }) => [join(this.#layout.volume(id), dataset.below), dataset]))
    const counted = await this.#command.diskUsage([...paths.keys()], this.#closing.signal).catch(() => new Map())
    for (const [path, { id, generation }] of paths) {
      const bytes = counted.get(path)
      if (bytes !== undefined) this.#known.set(id, { generation, bytes })
    }
  }
}

interface Dataset extends ListedSubvolume {
  /** Path within the volume's directory. */
  readonly below: string
}

/** The live dataset of each volume, or else its newest snapshot: ids only grow. */
const datasetsByVolume = (listed: readonly ListedSubvolume[], prefix: string): Map<string, Dataset> => {
  const datasets = new Map<string, Dataset>()
  for (const row of listed) {
    if (!row.path.startsWith(prefix)) continue
    const [id = '', ...rest] = row.path.slice(prefix.length).split('/')
    const below = rest.join('/')
    const known = datasets.get(id)
    const isLive = below === 'live'
    const isSnapshot = rest.length === 3 && rest[0] === 'snapshots'
    if (isLive || (isSnapshot && known?.below !== 'live' && (known === undefined || known.id < row.id))) {
      datasets.set(id, { ...row, below })
    }
  }
  return datasets
}

const mountedNoatime = async (where: string): Promise<boolean> => {
  const place = await placeOf(where)
  const text = (await readIfExists('/proc/self/mountinfo')) ?? ''
  return text
    .split('\n')
    .some(
      (line) => line.split(' ')[4] === place.mountPoint && (line.split(' ')[5] ?? '').split(',').includes('noatime'),
    )
}
