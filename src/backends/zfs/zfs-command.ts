import { DroverError } from '../../domain/errors.ts'
import { CommandError, type Exec } from '../../lib/exec.ts'
import { parseRows, parseVersions, type Versions } from './parse.ts'

/** Each pattern was seen from OpenZFS 2.3; test/vm/zfs/zfs-command.test.ts provokes every one on the real program. */
const absent = /does not exist|could not find any snapshots to destroy|unable to open the dataset/
const exists = /dataset already exists|snapshot already exists|bookmark exists|tag already exists/
const noSuchTag = /no such tag on this dataset/
const busy = /(?:dataset|pool) is busy|target is busy|Device or resource busy|already mounted/
const dependents = /has dependent clones|has children|it's being held/
const noSpace = /out of space|No space left on device|quota exceeded/i
const notPermitted = /permission denied|Operation not permitted|must be superuser/i
const notMounted = /: not mounted/
const noModule = /ZFS modules (?:are not loaded|cannot be auto-loaded)|zfs_version_kernel\(\) failed/

/** Of Drover's holds, which keep a snapshot from being destroyed by anybody else. */
export const holdTag = 'drover'

const minutes = 60_000

export type Properties = Readonly<Record<string, string>>

/** argv in, typed errors out: the only file that knows how zfs, zpool and mount are spoken to. */
export class ZfsCommand {
  readonly #exec: Exec

  constructor(exec: Exec) {
    this.#exec = exec
  }

  /** Null: the kernel's module is not loaded. */
  async versions(): Promise<Versions | null> {
    try {
      return parseVersions((await this.#run('zfs', ['zfs', 'version'])).stdout)
    } catch (error) {
      if (stderrMatches(error, noModule)) return null
      throw error
    }
  }

  /** Values by dataset and property, as exact numbers; null when the first dataset does not exist. `depth` 0: it alone. */
  async get(
    dataset: string,
    properties: readonly string[],
    options: { depth?: number; local?: boolean } = {},
  ): Promise<Map<string, Map<string, string>> | null> {
    const { depth = 0, local = false } = options
    const argv = [
      'zfs',
      'get',
      '-H',
      '-p',
      '-t',
      'filesystem,volume',
      '-d',
      String(depth),
      ...(local ? ['-s', 'local'] : []),
    ]
    const rows = await this.#rows(dataset, [...argv, '-o', 'name,property,value', properties.join(','), dataset])
    if (rows === null) return null
    const found = new Map<string, Map<string, string>>()
    for (const [name = '', property = '', value = ''] of rows) {
      const values = found.get(name) ?? new Map<string, string>()
      values.set(property, value)
      found.set(name, values)
    }
    return found
  }

  /** Rows of `columns` for the dataset and what is below it; null when it does not exist. */
  async list(
    dataset: string,
    columns: readonly string[],
    options: { types: string; depth?: number },
  ): Promise<string[][] | null> {
    const how = options.depth === undefined ? ['-r'] : ['-d', String(options.depth)]
    return this.#rows(dataset, [
      'zfs',
      'list',
      '-H',
      '-p',
      ...how,
      '-t',
      options.types,
      '-o',
      columns.join(','),
      dataset,
    ])
  }

  /** False: there is one of that name already. */
  async create(dataset: string, properties: Properties): Promise<boolean> {
    return this.#unless(exists, dataset, ['zfs', 'create', ...settings(properties), dataset])
  }

  /** All or none, in one transaction. */
  async set(dataset: string, properties: Properties): Promise<void> {
    const pairs = Object.entries(properties).map(([key, value]) => `${key}=${value}`)
    await this.#run(dataset, ['zfs', 'set', ...pairs, dataset])
  }

  async inherit(dataset: string, property: string): Promise<void> {
    await this.#run(dataset, ['zfs', 'inherit', property, dataset])
  }

  /** What is below it is not mounted anew. */
  async rename(from: string, to: string): Promise<void> {
    await this.#run(from, ['zfs', 'rename', '-u', from, to])
  }

  async renameSnapshot(from: string, to: string): Promise<void> {
    await this.#run(from, ['zfs', 'rename', from, to])
  }

  /** False: there is one of that name already. */
  async snapshot(name: string): Promise<boolean> {
    return this.#unless(exists, name, ['zfs', 'snapshot', name])
  }

  async clone(snapshot: string, dataset: string, properties: Properties): Promise<void> {
    await this.#run(snapshot, ['zfs', 'clone', ...settings(properties), snapshot, dataset])
  }

  async promote(dataset: string): Promise<void> {
    await this.#run(dataset, ['zfs', 'promote', dataset])
  }

  /** Never with -r: only ever to the newest snapshot. */
  async rollback(snapshot: string): Promise<void> {
    await this.#run(snapshot, ['zfs', 'rollback', snapshot], 10 * minutes)
  }

  async hold(snapshot: string, tag: string): Promise<void> {
    await this.#unless(exists, snapshot, ['zfs', 'hold', tag, snapshot])
  }

  /** The absent is a success. */
  async release(snapshot: string, tag: string): Promise<void> {
    await this.#unless([noSuchTag, absent], snapshot, ['zfs', 'release', tag, snapshot])
  }

  async bookmark(snapshot: string, bookmark: string): Promise<void> {
    await this.#unless(exists, snapshot, ['zfs', 'bookmark', snapshot, bookmark])
  }

  /** A snapshot or bookmark. The absent is a success. `whenFree`: what still depends on it keeps it, hidden, for as long. */
  async destroySnapshot(name: string, options: { whenFree?: boolean } = {}): Promise<void> {
    const flags = options.whenFree === true ? ['-d'] : []
    await this.#unless(absent, name, ['zfs', 'destroy', ...flags, name], 60 * minutes)
  }

  /** With what is below it, but never with clones elsewhere. The absent is a success. */
  async destroy(dataset: string, signal?: AbortSignal): Promise<void> {
    await this.#unless(absent, dataset, ['zfs', 'destroy', '-r', dataset], 24 * 60 * minutes, signal)
  }

  /** Not with anything below it: false, and nothing was done. The absent is a success. */
  async destroyEmpty(dataset: string): Promise<boolean> {
    try {
      await this.#unless(absent, dataset, ['zfs', 'destroy', dataset])
      return true
    } catch (error) {
      if (hasDependents(error)) return false
      throw error
    }
  }

  /** What a resume token says, a line for each. */
  async tokenContents(token: string): Promise<string> {
    return (await this.#run('resume token', ['zstream', 'token', token])).stdout
  }

  /** Everything written so far to the pool is on disk. */
  async sync(dataset: string): Promise<void> {
    await this.#run(dataset, ['zpool', 'sync', dataset.split('/', 1)[0] ?? dataset], 10 * minutes)
  }

  /** Pages that were changed through mappings, too. */
  async syncMount(path: string): Promise<void> {
    await this.#run(path, ['sync', '-f', path], 10 * minutes)
  }

  /** Lines of `zfs diff`: each names something that is not the same. The dataset must be mounted. */
  async differences(snapshot: string, dataset: string): Promise<string[]> {
    const { stdout } = await this.#run(snapshot, ['zfs', 'diff', '-F', '-H', '-h', snapshot, dataset], 10 * minutes)
    return stdout.split('\n').filter((line) => line !== '')
  }

  /** A dataset, or a snapshot (read-only by nature). @throws VOLUME_BUSY when it is mounted in another way somewhere. */
  async mount(name: string, path: string, options: { readOnly?: boolean } = {}): Promise<void> {
    const flags = options.readOnly === true ? 'noatime,ro' : 'noatime'
    await this.#run(name, ['mount', '-n', '--make-private', '-t', 'zfs', '-o', flags, name, path])
  }

  /** False when nothing was mounted there. @throws VOLUME_BUSY */
  async unmount(path: string): Promise<boolean> {
    return this.#unless(notMounted, path, ['umount', '-n', path])
  }

  async #rows(dataset: string, argv: readonly string[]): Promise<string[][] | null> {
    const [file = 'zfs', ...args] = argv
    try {
      return parseRows((await this.#exec.run([file, ...args])).stdout)
    } catch (error) {
      if (stderrMatches(error, absent)) return null
      throw typed(error, dataset)
    }
  }

  async #unless(
    expected: RegExp | readonly RegExp[],
    subject: string,
    argv: readonly [string, ...string[]],
    timeoutMs = minutes,
    signal?: AbortSignal,
  ): Promise<boolean> {
    try {
      await this.#exec.run(argv, { timeoutMs, ...(signal === undefined ? {} : { signal }) })
      return true
    } catch (error) {
      if (stderrMatches(error, ...[expected].flat())) return false
      throw typed(error, subject)
    }
  }

  async #run(subject: string, argv: readonly [string, ...string[]], timeoutMs = minutes) {
    try {
      return await this.#exec.run(argv, { timeoutMs })
    } catch (error) {
      throw typed(error, subject)
    }
  }
}

const settings = (properties: Properties): string[] =>
  Object.entries(properties).flatMap(([key, value]) => ['-o', `${key}=${value}`])

const stderrMatches = (error: unknown, ...patterns: readonly RegExp[]): error is CommandError =>
  error instanceof CommandError && patterns.some((pattern) => pattern.test(error.stderr))

export const hasDependents = (error: unknown): boolean =>
  error instanceof DroverError && error.cause instanceof CommandError && dependents.test(error.cause.stderr)

/** What a failed command means; `subject` is the dataset or path it was about. */
const typed = (error: unknown, subject: string): unknown => {
  if (!(error instanceof CommandError)) return error
  const wrap = (code: 'NO_SPACE' | 'NOT_PERMITTED' | 'DATASET_MISSING' | 'VOLUME_BUSY', message: string) =>
    new DroverError(code, message, { details: error.details, cause: error })
  if (dependents.test(error.stderr)) {
    return wrap('VOLUME_BUSY', `${subject} has clones, datasets or holds that keep it; remove those first`)
  }
  if (busy.test(error.stderr))
    return wrap('VOLUME_BUSY', `${subject} is busy: something still uses it; stop that first`)
  if (noSpace.test(error.stderr))
    return wrap('NO_SPACE', `no space on the pool for ${subject}; free some, or enlarge it`)
  if (notPermitted.test(error.stderr)) return wrap('NOT_PERMITTED', `${error.message}; vold must run as root`)
  if (absent.test(error.stderr)) {
    return wrap('DATASET_MISSING', `there is no dataset ${subject}; nothing was made in its place`)
  }
  return error
}

export const missing = (dataset: string): DroverError =>
  new DroverError('DATASET_MISSING', `there is no dataset ${dataset}; nothing was made in its place`)
