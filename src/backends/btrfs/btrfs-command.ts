import { once } from 'node:events'
import { lstat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { DroverError } from '../../domain/errors.ts'
import { CommandError, type Exec } from '../../lib/exec.ts'
import { isErrno } from '../../lib/files.ts'
import {
  type ListedSubvolume,
  parseList,
  parseMarker,
  parseQgroups,
  parseShow,
  parseStreamHead,
  parseVersion,
  type QgroupUsage,
  type SubvolumeInfo,
} from './parse.ts'

/** Each pattern was seen from btrfs-progs 6.2; test/platform/btrfs-command.test.ts provokes every one on the real program. */
const absent = /No such file or directory|unable to resolve/
const notSubvolume = /Not a Btrfs subvolume/i
const quotasOff = /quotas? not enabled/i
const noSpace = /No space left on device|Disk quota exceeded/
const notPermitted = /Operation not permitted|Permission denied/
const busy = /target is busy|Device or resource busy/
const notMounted = /: not mounted/

const minutes = 60_000

/** argv in, typed errors out: the only file that knows how btrfs-progs and mount are spoken to. */
export class BtrfsCommand {
  readonly #exec: Exec

  constructor(exec: Exec) {
    this.#exec = exec
  }

  /** Of btrfs-progs; null when it does not say. */
  async version(): Promise<{ major: number; minor: number } | null> {
    return parseVersion((await this.#exec.run(['btrfs', '--version'])).stdout)
  }

  /** Null when there is no subvolume at the path. */
  async show(path: string): Promise<SubvolumeInfo | null> {
    try {
      // Often it is asked only to hear that there is none; that needs no process.
      await lstat(path)
      return parseShow((await this.#exec.run(['btrfs', 'subvolume', 'show', '--raw', path])).stdout)
    } catch (error) {
      if (isErrno(error, 'ENOENT') || stderrMatches(error, absent, notSubvolume)) return null
      throw typed(error, path)
    }
  }

  async createSubvolume(path: string): Promise<void> {
    await this.#run(path, ['btrfs', 'subvolume', 'create', path])
  }

  /** Flushes the source's dirty data and commits: durable when it returns. */
  async snapshot(source: string, target: string, mode: 'read-only' | 'writable'): Promise<void> {
    const flags = mode === 'read-only' ? ['-r'] : []
    await this.#run(source, ['btrfs', 'subvolume', 'snapshot', ...flags, source, target], 10 * minutes)
  }

  /** The absent is a success. */
  async deleteSubvolume(path: string): Promise<void> {
    try {
      await this.#exec.run(['btrfs', 'subvolume', 'delete', path], { timeoutMs: 10 * minutes })
    } catch (error) {
      if (!stderrMatches(error, absent)) throw typed(error, path)
    }
  }

  async setReadOnly(path: string): Promise<void> {
    await this.#run(path, ['btrfs', 'property', 'set', '-t', 'subvol', path, 'ro', 'true'])
  }

  async setWritable(path: string): Promise<void> {
    await this.#run(path, ['btrfs', 'property', 'set', '-f', '-t', 'subvol', path, 'ro', 'false'])
  }

  /** Waits until the kernel has let go of the space of removed subvolumes. */
  async waitUntilGone(pool: string, ids: readonly number[], signal: AbortSignal): Promise<void> {
    await this.#exec.run(['btrfs', 'subvolume', 'sync', pool, ...ids.map(String)], {
      signal,
      timeoutMs: 24 * 60 * minutes,
    })
  }

  /** Every subvolume of the file system, or only those right below the one at `path`. */
  async list(path: string, which: 'all' | 'below'): Promise<ListedSubvolume[]> {
    const flags = which === 'below' ? ['-o'] : ['-a']
    return parseList((await this.#run(path, ['btrfs', 'subvolume', 'list', ...flags, path])).stdout)
  }

  async sync(path: string): Promise<void> {
    await this.#run(path, ['btrfs', 'filesystem', 'sync', path], 10 * minutes)
  }

  /** Syncs the file system, then answers the subvolume's generation: two needs, one process (find-new syncs first). */
  async syncedGeneration(path: string): Promise<number> {
    const newerThanAll = String(2n ** 62n)
    return parseMarker(
      (await this.#run(path, ['btrfs', 'subvolume', 'find-new', path, newerThanAll], 10 * minutes)).stdout,
    )
  }

  /** Bytes in extents written since a generation. Read as a stream: a busy volume has millions of lines. */
  async changedSince(path: string, generation: number): Promise<number> {
    const argv = ['btrfs', 'subvolume', 'find-new', path, String(generation)] as const
    const child = this.#exec.spawn(argv, ['ignore', 'pipe', 'ignore'])
    const ended = once(child, 'exit')
    let bytes = 0
    if (child.stdout !== null) {
      for await (const line of createInterface({ input: child.stdout })) {
        bytes += Number(/^inode \d+ file offset \d+ len (\d+) disk start /.exec(line)?.[1] ?? 0)
      }
    }
    const [exitCode] = await ended
    if (exitCode !== 0) throw new CommandError(argv, typeof exitCode === 'number' ? exitCode : null, '')
    return bytes
  }

  /** The transaction of the last change from within a read-only subvolume, from the head of its send stream. */
  async lastChange(path: string): Promise<number> {
    const argv = ['btrfs', 'send', '-q', '--no-data', path] as const
    const child = this.#exec.spawn(argv, ['ignore', 'pipe', 'pipe'])
    const ended = once(child, 'close')
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString()).slice(-4096)
    })
    let head = Buffer.alloc(0)
    try {
      for await (const chunk of child.stdout ?? []) {
        head = Buffer.concat([head, chunk])
        const found = parseStreamHead(head)
        if (found !== null) return found.changed
      }
    } finally {
      child.kill('SIGKILL')
      await ended
    }
    throw typed(new CommandError(argv, child.exitCode, stderr), path)
  }

  /** Null when the pool has no quotas. With `exact`, after a sync, also when the kernel says that its figures cannot be relied on. */
  async qgroups(pool: string, options: { exact?: boolean } = {}): Promise<QgroupUsage[] | null> {
    const exact = options.exact === true
    try {
      const argv = ['btrfs', 'qgroup', 'show', '--raw', '-r', ...(exact ? ['--sync'] : []), pool] as const
      const { stdout, stderr } = await this.#exec.run(argv, { timeoutMs: 10 * minutes })
      return exact && unreliable.test(stderr) ? null : parseQgroups(stdout)
    } catch (error) {
      if (stderrMatches(error, quotasOff)) return null
      throw typed(error, pool)
    }
  }

  async enableQuotas(pool: string): Promise<void> {
    await this.#run(pool, ['btrfs', 'quota', 'enable', pool])
  }

  /** @throws TIMED_OUT; the counting goes on. */
  async waitForRescan(pool: string, timeoutMs: number): Promise<void> {
    await this.#run(pool, ['btrfs', 'quota', 'rescan', '-W', pool], timeoutMs)
  }

  /** False when the pool has no quotas. */
  async limit(path: string, sizeBytes: number | null): Promise<boolean> {
    try {
      await this.#exec.run(['btrfs', 'qgroup', 'limit', sizeBytes === null ? 'none' : String(sizeBytes), path])
      return true
    } catch (error) {
      if (stderrMatches(error, quotasOff)) return false
      throw typed(error, path)
    }
  }

  /** The absent is a success; so is a group that is still busy: it is taken up at the next removal. */
  async destroyQgroup(pool: string, subvolumeId: number): Promise<void> {
    try {
      await this.#exec.run(['btrfs', 'qgroup', 'destroy', `0/${subvolumeId}`, pool])
    } catch (error) {
      if (!stderrMatches(error, absent, busy, quotasOff)) throw typed(error, pool)
    }
  }

  async bindMount(source: string, path: string): Promise<void> {
    await this.#run(source, ['mount', '-n', '--bind', '--make-private', '-o', 'noatime', source, path])
  }

  /** False when nothing was mounted there. @throws VOLUME_BUSY */
  async unmount(path: string): Promise<boolean> {
    try {
      await this.#exec.run(['umount', '-n', path])
      return true
    } catch (error) {
      if (stderrMatches(error, notMounted)) return false
      throw typed(error, path)
    }
  }

  /** Bytes that the files below each path take; paths that cannot be read are left out. */
  async diskUsage(paths: readonly string[], signal: AbortSignal): Promise<Map<string, number>> {
    const argv = ['du', '-s', '-x', '-B1', '-0', '--', ...paths] as const
    const stdout = await this.#exec.run(argv, { signal, timeoutMs: 60 * minutes }).then(
      (result) => result.stdout,
      // A file removed under its feet makes du end with 1; what it printed before is lost with it.
      (error: unknown) => {
        if (error instanceof CommandError) return ''
        throw error
      },
    )
    const rows = stdout.split('\0').map((row) => /^(\d+)\t([\s\S]*)$/.exec(row))
    return new Map(rows.flatMap((row) => (row === null ? [] : [[row[2] ?? '', Number(row[1])]])))
  }

  async #run(subject: string, argv: readonly [string, ...string[]], timeoutMs = minutes) {
    try {
      return await this.#exec.run(argv, { timeoutMs })
    } catch (error) {
      throw typed(error, subject)
    }
  }
}

const unreliable = /inconsistent|rescan/i

const stderrMatches = (error: unknown, ...patterns: readonly RegExp[]): error is CommandError =>
  error instanceof CommandError && patterns.some((pattern) => pattern.test(error.stderr))

/** What a failed command means; `subject` is the path it was about. */
const typed = (error: unknown, subject: string): unknown => {
  if (!(error instanceof CommandError)) return error
  const wrap = (code: 'NO_SPACE' | 'NOT_PERMITTED' | 'DATASET_MISSING' | 'VOLUME_BUSY', message: string) =>
    new DroverError(code, message, { details: error.details, cause: error })
  if (busy.test(error.stderr))
    return wrap('VOLUME_BUSY', `${subject} is busy: something still uses it; stop that first`)
  if (noSpace.test(error.stderr))
    return wrap('NO_SPACE', `no space on the pool for ${subject}; free some, or enlarge the pool`)
  if (notPermitted.test(error.stderr)) return wrap('NOT_PERMITTED', `${error.message}; vold must run as root`)
  if (absent.test(error.stderr) || notSubvolume.test(error.stderr)) {
    return wrap('DATASET_MISSING', `there is no dataset at ${subject}; nothing was made in its place`)
  }
  return error
}
