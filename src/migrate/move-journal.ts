import { join } from 'node:path'
import type { ContainerSpec } from '../containers/runtime.ts'
import type { HostId, MoveId } from '../domain/ids.ts'
import { diskFiles, type Files } from '../lib/files.ts'
import type { GroupPart, JournalNote, MoveCommand, PreparedContainer } from './agent.ts'

/** What a source must know to put its writers back, whatever dies. */
export interface SourceJournal {
  readonly command: MoveCommand
  readonly mode: 'stop' | 'pause'
  /** Whole: a `--rm` container vanishes when it stops. */
  readonly specs: readonly ContainerSpec[]
  /** Paused ones got SIGKILL: from here on an undo is a restart. */
  readonly killed: boolean
  /** The engine was told to stop them; one that still runs may be about to end. */
  readonly stopping: boolean
  /** Set before `released` is written: whom to settle with should the control role be gone. */
  readonly targetHostId: HostId | null
  /** One of several volumes; the containers of all of them are in the journal of the lead. */
  readonly group?: GroupPart
}

export interface TargetJournal {
  readonly command: MoveCommand
  readonly containers: readonly PreparedContainer[]
}

export type Side = 'source' | 'target' | 'carried' | 'refused'

/** One file a move and side under `<data-dir>/moves/`, gone when the move has ended here. */
export class MoveJournal {
  readonly #directory: string
  readonly #files: Files

  constructor(dataDir: string, files: Files = diskFiles) {
    this.#directory = join(dataDir, 'moves')
    this.#files = files
  }

  source(id: MoveId): Promise<SourceJournal | null> {
    return this.#read(`${id}.source.json`)
  }

  target(id: MoveId): Promise<TargetJournal | null> {
    return this.#read(`${id}.target.json`)
  }

  writeSource(journal: SourceJournal): Promise<void> {
    return this.#write(`${journal.command.moveId}.source.json`, journal)
  }

  writeTarget(journal: TargetJournal): Promise<void> {
    return this.#write(`${journal.command.moveId}.target.json`, journal)
  }

  /** What the target of a move that did not become healthy knows of the containers, until they have gone back. */
  carried(id: MoveId): Promise<TargetJournal | null> {
    return this.#read(`${id}.carried.json`)
  }

  async keepCarried(id: MoveId): Promise<void> {
    const journal = await this.target(id)
    if (journal !== null) await this.#write(`${id}.carried.json`, journal)
  }

  /** What could not be started again, whole and for a person: no move drops it, but one that starts them after all. @returns its path */
  async keepRefused(id: MoveId, specs: readonly ContainerSpec[]): Promise<string> {
    await this.#write(`${id}.refused.json`, { specs })
    return join(this.#directory, `${id}.refused.json`)
  }

  async drop(id: MoveId, side: Side): Promise<void> {
    await this.#files.remove(join(this.#directory, `${id}.${side}.json`))
  }

  /** Every journal on this host. */
  async all(): Promise<JournalNote[]> {
    await this.#files.ensureDirectory(this.#directory)
    const found: JournalNote[] = []
    for (const name of (await this.#files.list(this.#directory)).toSorted()) {
      const side = /\.(source|target|carried)\.json$/.exec(name)?.[1]
      if (side !== 'source' && side !== 'target' && side !== 'carried') continue
      const journal = await this.#read<SourceJournal | TargetJournal>(name)
      if (journal === null) continue
      const targetHostId = 'targetHostId' in journal ? journal.targetHostId : null
      const group = 'group' in journal ? { group: journal.group } : {}
      found.push({ side, command: journal.command, targetHostId, ...group })
    }
    return found
  }

  async #read<T>(name: string): Promise<T | null> {
    const text = await this.#files.readIfExists(join(this.#directory, name))
    return text === null ? null : JSON.parse(text)
  }

  async #write(name: string, value: unknown): Promise<void> {
    await this.#files.ensureDirectory(this.#directory)
    await this.#files.writeJsonDurably(join(this.#directory, name), value)
  }
}
