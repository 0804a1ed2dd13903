import type { DatasetMark, DatasetMount, DatasetOpener } from '../../src/lib/mount-users.ts'
import { type Dataset, errnoError, type MemoryPool } from './memory-pool.ts'

export interface KernelMount {
  readonly path: string
  /** `own`, or the container's. */
  readonly namespace: string
  readonly pid: number
  readonly volumeId: string
  /** Null: somebody else's file system. */
  readonly dataset: Dataset | null
}

export interface KernelOpener {
  readonly pid: number
  readonly dataset: Dataset
}

/** A machine's mounts and open files: they outlive `vold`, not the machine. */
export class Kernel {
  mounts: KernelMount[] = []
  openers: KernelOpener[] = []
  readonly #pools: readonly MemoryPool[]
  #pids = 1000

  constructor(...pools: readonly MemoryPool[]) {
    this.#pools = pools
  }

  poolOf(dataset: Dataset): MemoryPool {
    const found = this.#pools.find((pool) => pool.has(dataset))
    if (found === undefined) throw new Error(`no pool has ${dataset.uuid}`)
    return found
  }

  newPid(): number {
    this.#pids += 1
    return this.#pids
  }

  ownMountAt(path: string): KernelMount | undefined {
    return this.mounts.findLast((mount) => mount.namespace === 'own' && mount.path === path)
  }

  mount(path: string, namespace: string, volumeId: string, dataset: Dataset | null, pid = 1): KernelMount {
    const mount: KernelMount = { path, namespace, pid, volumeId, dataset }
    this.mounts.push(mount)
    return mount
  }

  /** The uppermost layer. @throws EBUSY */
  unmount(path: string): void {
    const mount = this.ownMountAt(path)
    if (mount === undefined) return
    const others = this.mounts.filter(({ dataset }) => dataset !== null && dataset === mount.dataset)
    const held = this.openers.some(({ dataset }) => dataset === mount.dataset)
    if (held && others.length === 1) throw errnoError('EBUSY', -16)
    this.mounts.splice(this.mounts.lastIndexOf(mount), 1)
  }

  leave(namespace: string): void {
    this.mounts = this.mounts.filter((mount) => mount.namespace !== namespace)
  }

  powerFails(): void {
    this.mounts = []
    this.openers = []
  }

  mountsOf(mark: DatasetMark): DatasetMount[] {
    return this.mounts
      .filter(({ dataset, volumeId }) => dataset !== null && this.#rootOf(volumeId, dataset) === mark.root)
      .map(({ path, namespace, pid }) => ({
        mountPoint: path,
        root: mark.root,
        namespace,
        pid,
        own: namespace === 'own',
        command: 'sh',
        containerId: null,
      }))
  }

  openersOf(mark: DatasetMark): DatasetOpener[] {
    return this.openers
      .filter(({ dataset }) => dataset.ordinal === mark.statDevice)
      .map(({ pid }) => ({ pid, command: 'sh', what: ['cwd'], namespace: 'own', own: true, containerId: null }))
  }

  /** As mountinfo shows it: by where the subvolume lies now. */
  #rootOf(volumeId: string, dataset: Dataset): string {
    const pool = this.poolOf(dataset)
    return pool.volumes.get(volumeId)?.live === dataset
      ? liveRoot(pool, volumeId)
      : `/trash/${volumeId}/${dataset.ordinal}`
  }
}

export const liveRoot = ({ name }: MemoryPool, volumeId: string): string => `${name}/volumes/${volumeId}/live`
