import { DroverError } from '../../domain/errors.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/logger.ts'
import { RemovalQueue } from '../removal-queue.ts'
import type { Names } from './names.ts'
import { holdTag, type Properties, type ZfsCommand } from './zfs-command.ts'

const entryShape = /^[a-zA-Z0-9_.-]+\.[a-z0-9]+-[a-z0-9]+$/
const mark = 'drover:trash'
const trashProperties: Properties = { canmount: 'off', mountpoint: 'none', [mark]: 'yes' }

/**
 * Removal in two steps: a rename out of sight, which is quick whatever the size and durable when it returns, then the slow part in the
 * background. The second step knows nothing but what lies in the trash, so a new start goes on where a crash left it.
 */
export class Trash extends RemovalQueue {
  readonly #names: Names
  readonly #command: ZfsCommand
  readonly #logger: Logger
  readonly #clock: Clock
  #sequence = 0

  constructor(names: Names, command: ZfsCommand, logger: Logger, clock: Clock) {
    super()
    this.#names = names
    this.#command = command
    this.#logger = logger
    this.#clock = clock
  }

  /** @throws BAD_CONFIG when somebody else's dataset has its name */
  async prepare(): Promise<void> {
    const { trash } = this.#names
    const there = await this.#command.get(trash, [mark], { local: true })
    if (there === null && (await this.#command.create(trash, trashProperties))) return
    if (there?.get(trash)?.get(mark) !== undefined) return
    throw new DroverError(
      'BAD_CONFIG',
      `${trash} is not Drover's, which needs that name; rename it, or use another dataset`,
    )
  }

  /** Moves a dataset of Drover's away, with what is below it. The absent is a success. `what` says in the name what it was. */
  async put(dataset: string, what: string): Promise<void> {
    if ((await this.#command.get(dataset, ['guid'])) === null) return
    const entry = `${what}.${this.#clock.now().toString(36)}-${(this.#sequence++).toString(36)}`
    await this.#command.rename(dataset, `${this.#names.trash}/${entry}`)
    this.sweep()
  }

  /** What depends on another entry goes before it: as long as one went, the others are tried again. */
  protected async empty(): Promise<void> {
    let before = Number.POSITIVE_INFINITY
    let failed: { entry: string; error: unknown }[] = []
    do {
      before = failed.length === 0 ? Number.POSITIVE_INFINITY : failed.length
      failed = []
      for (const entry of await this.entries()) {
        if (this.closing.signal.aborted) return
        try {
          await this.#destroy(entry)
        } catch (error) {
          failed.push({ entry, error })
        }
      }
    } while (failed.length > 0 && failed.length < before)
    if (this.closing.signal.aborted) return
    for (const { entry, error } of failed) {
      this.#logger.warn({ entry, err: error }, 'removal did not end; it is tried again at the next removal or start')
    }
  }

  protected async entries(): Promise<string[]> {
    const { trash } = this.#names
    const marked = await this.#command.get(trash, ['drover:volume'], { depth: 1, local: true }).catch(() => null)
    return [...(marked?.keys() ?? [])].filter(
      (dataset) => dataset !== trash && entryShape.test(dataset.slice(trash.length + 1)),
    )
  }

  async #destroy(entry: string): Promise<void> {
    const rows = await this.#command.list(entry, ['name', 'userrefs'], { types: 'snapshot' })
    for (const [snapshot = '', holds] of rows ?? []) {
      if (holds !== '0') await this.#command.release(snapshot, holdTag)
    }
    await this.#command.destroy(entry, this.closing.signal)
  }
}
