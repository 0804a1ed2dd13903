import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../../lib/clock.ts'
import { isErrno, readIfExists, syncDirectory, writeJsonDurably } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import { RemovalQueue } from '../removal-queue.ts'
import { isNoSpace, type Reserve } from '../reserve.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'

/** Inode number of the top directory of every subvolume, and of nothing else. */
const topInode = 256
const entryShape = /^[a-zA-Z0-9_.-]+~[a-z0-9]+-[a-z0-9]+$/
const idsFile = 'removing.json'

/**
 * Removal in two steps: a durable rename out of sight, which is quick whatever the size, then the slow part in the background.
 * The second step knows nothing but what lies in trash/, so a new start goes on where a crash left it.
 */
export class Trash extends RemovalQueue {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #reserve: Reserve
  readonly #logger: Logger
  readonly #clock: Clock
  /** Entries that are not whole yet: the worker would take an empty one for done. */
  readonly #arriving = new Set<string>()
  #sequence = 0

  constructor(layout: Layout, command: BtrfsCommand, reserve: Reserve, logger: Logger, clock: Clock) {
    super()
    this.#layout = layout
    this.#command = command
    this.#reserve = reserve
    this.#logger = logger
    this.#clock = clock
  }

  /** Moves `path` away, durably. The absent is a success. `what` says in the name what it was. */
  async put(path: string, what: string): Promise<void> {
    const isSubvolume = await isTopOfSubvolume(path)
    if (isSubvolume === null) return
    const name = `${what}~${this.#clock.now().toString(36)}-${(this.#sequence++).toString(36)}`
    const entry = join(this.#layout.trash, name)
    this.#arriving.add(name)
    try {
      // A subvolume gets a plain directory around it, where the worker can keep notes.
      if (isSubvolume) await this.#reserve.spend(() => mkdir(entry, { mode: 0o700 }))
      await this.#reserve.spend(() => rename(path, isSubvolume ? join(entry, 'subvolume') : entry))
      await syncDirectory(dirname(path))
      await syncDirectory(this.#layout.trash)
    } finally {
      this.#arriving.delete(name)
    }
    this.sweep()
  }

  protected async empty(): Promise<void> {
    const entries = (await this.entries()).map((name) => join(this.#layout.trash, name))
    const emptied = new Map<string, readonly number[]>()
    for (const entry of entries) {
      await this.#guard(entry, async () => emptied.set(entry, await this.#deleteSubvolumes(entry)))
    }
    await this.#guard(this.#layout.trash, async () => {
      await this.#releaseIds([...new Set([...emptied.values()].flat())])
      for (const entry of emptied.keys()) await rm(entry, { recursive: true, force: true })
      await this.#reserve.keep()
    })
  }

  protected async entries(): Promise<string[]> {
    const names = await readdir(this.#layout.trash).catch((): string[] => [])
    return names.filter((name) => entryShape.test(name) && !this.#arriving.has(name))
  }

  /** One stubborn entry does not keep the others; nothing is forgotten, because trash/ still holds it. */
  async #guard(entry: string, work: () => Promise<unknown>): Promise<void> {
    if (this.closing.signal.aborted) return
    try {
      await work()
    } catch (error) {
      if (this.closing.signal.aborted) return
      this.#logger.warn({ entry, err: error }, 'removal did not end; it is tried again at the next removal or start')
    }
  }

  /** The ids of what was removed, also of what was removed before a crash. */
  async #deleteSubvolumes(entry: string): Promise<readonly number[]> {
    const note = join(entry, idsFile)
    const ids = new Set<number>(parseIds(await readIfExists(note)))
    const doomed: string[] = []
    for (const path of await subvolumesIn(entry)) doomed.push(...(await this.#withNested(path)))
    for (const path of doomed) {
      const info = await this.#command.show(path)
      if (info !== null) ids.add(info.id)
    }
    // The ids outlive the subvolumes on disk: their quota groups can only be removed afterwards, maybe after a crash.
    if (doomed.length > 0) await this.#note(note, [...ids])
    for (const path of doomed) await this.#command.deleteSubvolume(path)
    return [...ids]
  }

  /** A pool too full for it gets its room back all the same; a crash right now would then leave empty quota groups behind. */
  async #note(path: string, ids: readonly number[]): Promise<void> {
    try {
      await this.#reserve.spend(() => writeJsonDurably(path, ids))
    } catch (error) {
      if (!isNoSpace(error)) throw error
      this.#logger.warn({ path }, 'the pool is too full to note what is being removed; it is removed without')
    }
  }

  async #releaseIds(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return
    // The kernel frees space after a commit; without one we would wait for the next, up to 30 s away.
    await this.#command.sync(this.#layout.where)
    await this.#command.waitUntilGone(this.#layout.where, ids, this.closing.signal)
    const groups = new Set((await this.#command.qgroups(this.#layout.where))?.map((group) => group.subvolumeId))
    for (const id of ids) {
      if (groups.has(id)) await this.#command.destroyQgroup(this.#layout.where, id)
    }
  }

  /** The subvolume and those nested in it, innermost first. */
  async #withNested(path: string): Promise<string[]> {
    const inner: string[] = []
    const below = await this.#command.list(path, 'below')
    if (below.length > 0) {
      if ((await this.#command.show(path))?.readOnly === true) await this.#command.setWritable(path)
      for (const nested of await subvolumesIn(path)) inner.push(...(await this.#withNested(nested)))
    }
    return [...inner, path]
  }
}

const parseIds = (text: string | null): number[] => {
  try {
    const ids: unknown = JSON.parse(text ?? '[]')
    return Array.isArray(ids) ? ids.filter((id) => Number.isSafeInteger(id)) : []
  } catch {
    return []
  }
}

/** Null: there is nothing. */
const isTopOfSubvolume = async (path: string): Promise<boolean | null> => {
  try {
    return (await lstat(path)).ino === topInode
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

/** Subvolumes below a directory, not those within them. */
const subvolumesIn = async (directory: string): Promise<string[]> => {
  const found: string[] = []
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const path = join(directory, entry.name)
    if ((await lstat(path)).ino === topInode) found.push(path)
    else found.push(...(await subvolumesIn(path)))
  }
  return found
}
