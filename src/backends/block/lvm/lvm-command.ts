import { DroverError } from '../../../domain/errors.ts'
import { CommandError, type Exec } from '../../../lib/exec.ts'
import { ownTag, type ThinPool } from './names.ts'

const minute = 60_000
const absent = /Failed to find logical volume|not found in [Vv]olume group|Volume group .* not found/
const full = /reached threshold|[Ii]nsufficient|free space|No space left|out of (data|metadata) space/
const sameSize = /matches existing size/

/** A logical volume as lvs(8) tells it. */
export interface LogicalVolume {
  readonly name: string
  readonly tags: readonly string[]
  readonly sizeBytes: number
  /** The thin pool that it is in; '' when in none. */
  readonly pool: string
  readonly isReadOnly: boolean
  readonly isActive: boolean
  readonly segmentType: string
  readonly whenFull: string
  readonly zero: string
  readonly extentBytes: number
}

const fields = [
  ...['lv_name', 'lv_tags', 'lv_size', 'pool_lv', 'lv_permissions', 'lv_active', 'segtype'],
  ...['lv_when_full', 'zero', 'vg_extent_size'],
].join(',')

/** argv in, typed errors out: lvs, lvcreate, lvchange, lvresize, lvremove. What changes or removes is held to what bears our tag, by LVM itself. */
export class LvmCommand {
  readonly #exec: Exec
  readonly #pool: ThinPool

  constructor(exec: Exec, pool: ThinPool) {
    this.#exec = exec
    this.#pool = pool
  }

  /** The pool itself; null: there is none. */
  async pool(): Promise<LogicalVolume | null> {
    const { group, pool } = this.#pool
    return (await this.#report(`${group}/${pool}`))[0] ?? null
  }

  /** A thin volume of Drover's in this pool; null: there is none. */
  async find(volume: string): Promise<LogicalVolume | null> {
    const [found] = await this.#report(`${this.#pool.group}/${volume}`)
    return found?.pool === this.#pool.pool && found.tags.includes(ownTag) ? found : null
  }

  /** All of Drover's in this pool. */
  own(): Promise<LogicalVolume[]> {
    return this.#report(this.#pool.group, ['-S', this.#ours()])
  }

  /** An error when one of that name exists. @throws NO_SPACE, BAD_SIZE */
  async create(volume: string, sizeBytes: number, tags: readonly string[]): Promise<void> {
    const { group, pool } = this.#pool
    await this.#change([
      ...(['lvcreate', '--type', 'thin', '--thinpool', pool, '-V', `${sizeBytes}b`, '-n', volume] as const),
      ...[...tagOptions(tags), '-kn', '-Wn', group],
    ])
  }

  /** Durable when it returns; what is mounted is frozen by the kernel meanwhile. @throws DATASET_MISSING, NO_SPACE */
  async snapshot(from: string, to: string, tags: readonly string[], isReadOnly: boolean): Promise<void> {
    await this.#change([
      ...(['lvcreate', '-s', '-n', to, ...tagOptions(tags), '-kn', isReadOnly ? '-pr' : '-prw'] as const),
      `${this.#pool.group}/${from}`,
    ])
  }

  async setReadOnly(volume: string): Promise<void> {
    await this.#change(['lvchange', '-pr', ...this.#onlyOurs(volume)])
  }

  async activate(volume: string): Promise<void> {
    await this.#change(['lvchange', '-ay', '-K', ...this.#onlyOurs(volume)])
  }

  /** All of Drover's in this pool. */
  async activateAll(): Promise<void> {
    await this.#change(['lvchange', '-ay', '-K', this.#pool.group, '-S', this.#ours()])
  }

  /** What a killed command left suspended goes on. */
  async refresh(volume: string): Promise<void> {
    await this.#change(['lvchange', '--refresh', ...this.#onlyOurs(volume)])
  }

  async replaceTag(volume: string, before: string, after: string): Promise<void> {
    await this.#change(['lvchange', '--deltag', before, '--addtag', after, ...this.#onlyOurs(volume)])
  }

  /** The size that it has already is a success. @throws DATASET_MISSING, NO_SPACE */
  async resize(volume: string, sizeBytes: number): Promise<void> {
    try {
      await this.#change(['lvresize', '-f', '-L', `${sizeBytes}b`, `${this.#pool.group}/${volume}`])
    } catch (error) {
      if (!(error instanceof CommandError) || !sameSize.test(error.stderr)) throw error
    }
  }

  /** The absent is a success, and so is what is not ours, which stays. */
  async remove(volume: string): Promise<void> {
    await this.#change(['lvremove', ...this.#onlyOurs(volume)])
  }

  #ours(): string {
    return `lv_tags={"${ownTag}"} && pool_lv="${this.#pool.pool}"`
  }

  #onlyOurs(volume: string): string[] {
    return [this.#pool.group, '-S', `lv_name="${volume}" && ${this.#ours()}`]
  }

  async #change([program, ...rest]: readonly [string, ...string[]]): Promise<void> {
    try {
      await this.#exec.run([program, '-q', '-y', ...rest], { timeoutMs: 60 * minute })
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      const { spec } = this.#pool
      const options = { details: error.details, cause: error }
      if (absent.test(error.stderr)) {
        throw new DroverError(
          'DATASET_MISSING',
          `pool ${spec} has no such device; nothing was made in its place`,
          options,
        )
      }
      if (full.test(error.stderr)) {
        throw new DroverError('NO_SPACE', `no space in pool ${spec}; free some, or enlarge it`, options)
      }
      throw error
    }
  }

  async #report(what: string, options: readonly string[] = []): Promise<LogicalVolume[]> {
    const argv = [
      ...(['lvs', '--reportformat', 'json', '--units', 'b', '--nosuffix', '-o', fields] as const),
      // With JSON it would tell errors as part of the report (seen in 2.03.31), and not on stderr.
      ...['--config', 'log/report_command_log=0', ...options, what],
    ] as const
    try {
      return parseReport((await this.#exec.run(argv, { timeoutMs: 10 * minute })).stdout)
    } catch (error) {
      if (error instanceof CommandError && absent.test(error.stderr)) return []
      throw error
    }
  }
}

const tagOptions = (tags: readonly string[]): string[] => tags.flatMap((tag) => ['--addtag', tag])

/** @param text of `lvs --reportformat json`, whose values are all strings */
export const parseReport = (text: string): LogicalVolume[] => {
  const { report } = JSON.parse(text) as { report: { lv: Record<string, string>[] }[] }
  return report
    .flatMap(({ lv }) => lv)
    .map((row) => ({
      name: row.lv_name ?? '',
      tags: (row.lv_tags ?? '').split(',').filter((tag) => tag !== ''),
      sizeBytes: Number(row.lv_size),
      pool: row.pool_lv ?? '',
      isReadOnly: (row.lv_permissions ?? '').startsWith('read-only'),
      isActive: row.lv_active === 'active',
      segmentType: row.segtype ?? '',
      whenFull: row.lv_when_full ?? '',
      zero: row.zero ?? '',
      extentBytes: Number(row.vg_extent_size),
    }))
}
