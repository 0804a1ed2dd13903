import { DroverError, hasCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Argv, ResumingFacet } from '../backend.ts'
import { inventoryOf } from './inventory.ts'
import { arriving, type Names } from './names.ts'
import { readToken } from './parse.ts'
import { missing, type ZfsCommand } from './zfs-command.ts'

/**
 * A receive that is cut off, its process killed too, leaves what it has got, and a token that says how far that is. It names the snapshots
 * by their guids: it is used for the very stream that it is of, and for no other. The guid proves what arrived as it does without.
 */
export class Resuming implements ResumingFacet {
  readonly #names: Names
  readonly #command: ZfsCommand

  constructor(names: Names, command: ZfsCommand) {
    this.#names = names
    this.#command = command
  }

  async resumeReceive(
    id: VolumeId,
    partial: string,
    { streamUuid, baseUuid }: { streamUuid: string; baseUuid: string | null },
  ): Promise<{ token: string; argv: Argv } | null> {
    const dataset = this.#names.receiving(id, partial)
    const found = await this.#command.get(dataset, ['receive_resume_token'])
    const token = found?.get(dataset)?.get('receive_resume_token') ?? '-'
    if (token === '-') return null
    const told = await this.#told(token)
    if (told?.toGuid !== streamUuid || told.fromGuid !== baseUuid) return null
    return { token, argv: ['zfs', 'receive', '-s', '-u', `${dataset}@${arriving}`] }
  }

  async resumeSend(id: VolumeId, snapshot: string, base: string | null, token: string): Promise<Argv> {
    const there = await inventoryOf(this.#command, this.#names, id)
    const guidOf = (name: string): string => {
      const found = [...(there?.snapshots ?? []), ...(there?.bookmarks ?? [])].find((each) => each.name === name)
      if (found === undefined) throw missing(`${this.#names.volume(id)}/...@${name}`)
      return found.guid
    }
    const told = await this.#told(token)
    if (told?.toGuid !== guidOf(snapshot) || told.fromGuid !== (base === null ? null : guidOf(base))) {
      throw new DroverError('STREAM_FAILED', `the receiver goes on with another stream than that of ${snapshot}`)
    }
    return ['zfs', 'send', '-t', token]
  }

  /** Null: it cannot be read, and is of no use. */
  async #told(token: string): Promise<ReturnType<typeof readToken> | null> {
    try {
      return readToken(await this.#command.tokenContents(token))
    } catch (error) {
      if (hasCode(error, 'COMMAND_FAILED', 'MISSING_PROGRAM')) return null
      throw error
    }
  }
}
