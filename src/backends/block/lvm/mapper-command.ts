import { CommandError, type Exec } from '../../../lib/exec.ts'
import { mappedPool, type ThinPool } from './names.ts'

const sectorBytes = 512
const listTries = 5
const gone = /No such device|does not exist/

/** What the kernel says of a thin pool. */
export interface PoolStatus {
  readonly totalChunks: number
  readonly usedChunks: number
  readonly chunkBytes: number
  /** A metadata snapshot is held. */
  readonly isHeld: boolean
  /** `rw`, `ro`, `out_of_data_space`, or `Fail`. */
  readonly mode: string
}

/** argv in, typed errors out: dmsetup. What it asks is asked of the kernel, without LVM's locks. */
export class MapperCommand {
  readonly #exec: Exec
  readonly #pool: ThinPool
  #table: string | null = null

  constructor(exec: Exec, pool: ThinPool) {
    this.#exec = exec
    this.#pool = pool
  }

  async poolStatus(): Promise<PoolStatus> {
    const name = mappedPool(this.#pool)
    // A pool keeps the size of its chunks.
    this.#table ??= (await this.#exec.run(['dmsetup', 'table', name])).stdout
    return parsePoolStatus((await this.#exec.run(['dmsetup', 'status', name])).stdout, this.#table)
  }

  /** The number that an active thin device has in its pool's tables; null when there is no such device. */
  async thinId(name: string): Promise<number | null> {
    try {
      const { stdout } = await this.#exec.run(['dmsetup', 'table', name])
      const [, id] = /^\d+ \d+ thin \S+ (\d+)/.exec(stdout.trim()) ?? []
      return id === undefined ? null : Number(id)
    } catch (error) {
      if (error instanceof CommandError && gone.test(error.stderr)) return null
      throw error
    }
  }

  /** Bytes that each active thin device has mapped, by its name in the device mapper. */
  async mappedBytes(): Promise<Map<string, number>> {
    const stdout = await this.#ofAll('status', '--target', 'thin')
    const found = new Map<string, number>()
    for (const [, name = '', sectors] of stdout.matchAll(/^([^:]+): \d+ \d+ thin (\d+) /gm)) {
      found.set(name, Number(sectors) * sectorBytes)
    }
    return found
  }

  /** Names of devices that a killed command left suspended: whoever writes to them waits. */
  async suspended(): Promise<string[]> {
    const stdout = await this.#ofAll('info', '-c', '--noheadings', '--separator', ':', '-o', 'name,suspended')
    return stdout
      .split('\n')
      .filter((line) => line.endsWith(':Suspended'))
      .map((line) => line.slice(0, -':Suspended'.length))
  }

  /** dmsetup fails when a device goes, anybody's, between its listing of all and its look at each: it is asked again. */
  async #ofAll(...argv: string[]): Promise<string> {
    for (let left = listTries; ; left -= 1) {
      try {
        return (await this.#exec.run(['dmsetup', ...argv])).stdout
      } catch (error) {
        if (!(error instanceof CommandError) || left <= 1) throw error
      }
    }
  }

  /** How often it is open, mounts counted; 0 when there is no such device. */
  async openCount(name: string): Promise<number> {
    try {
      const { stdout } = await this.#exec.run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'open', name])
      return Number(stdout.trim()) || 0
    } catch (error) {
      if (error instanceof CommandError && gone.test(error.stderr)) return 0
      throw error
    }
  }

  async message(text: 'reserve_metadata_snap' | 'release_metadata_snap'): Promise<void> {
    await this.#exec.run(['dmsetup', 'message', mappedPool(this.#pool), '0', text])
  }
}

/** `0 2097152 thin-pool 2 421/4096 77/16384 34 rw ...`, and the table for the size of a chunk. */
export const parsePoolStatus = (status: string, table: string): PoolStatus => {
  const words = status.trim().split(/\s+/)
  const [used = 0, total = 0] = (words[5] ?? '').split('/').map(Number)
  return {
    totalChunks: total,
    usedChunks: used,
    chunkBytes: Number(table.trim().split(/\s+/)[5] ?? 0) * sectorBytes,
    isHeld: words[6] !== '-',
    mode: words[7] ?? words[3] ?? 'Fail',
  }
}
