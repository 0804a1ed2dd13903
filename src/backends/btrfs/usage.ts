import { join } from 'node:path'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import { readIfExists } from '../../lib/files.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'
import type { ListedSubvolume } from './parse.ts'
import { placeOf } from './pool-check.ts'

/** A listing waits this long for new figures, then answers with those it has. */
const patienceMs = 250

/**
 * Bytes by volume with two commands for any number of volumes. With quotas the kernel has counted. Without, `du` counts in the
 * background, once for each generation of a dataset; a volume that was not counted yet is left out of the answer.
 */
export class Usage {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #clock: Clock
  readonly #known = new Map<number, { generation: number; bytes: number }>()
  readonly #closing = new AbortController()
  #counting: Promise<void> | null = null

  constructor(layout: Layout, command: BtrfsCommand, clock: Clock) {
    this.#layout = layout
    this.#command = command
    this.#clock = clock
  }

  async of(ids: readonly VolumeId[]): Promise<Map<VolumeId, number>> {
    const place = await placeOf(this.#layout.where)
    const [listed, groups] = await Promise.all([
      this.#command.list(this.#layout.where, 'all'),
      this.#command.qgroups(this.#layout.where),
    ])
    const datasets = datasetsByVolume(listed, `${place.root}/volumes/`.slice(1))
    const wanted = ids.flatMap((id) => {
      const dataset = datasets.get(id)
      return dataset === undefined ? [] : [{ id, dataset }]
    })
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

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#counting
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
