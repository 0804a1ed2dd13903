import type { DatasetOptions } from '../../domain/dataset-options.ts'
import { DroverError } from '../../domain/errors.ts'
import type { OptionsFacet } from '../backend.ts'
import { missing, type Properties, type ZfsCommand } from './zfs-command.ts'

/**
 * As OpenZFS's own notes on tuning advise for each. Smaller records than these cost more in compression than they save in reads; a
 * database's log is written in whole records anyway.
 */
const profiles: Readonly<Record<string, Properties>> = {
  postgresql: { recordsize: '32K', compression: 'lz4' },
  mysql: { recordsize: '16K', compression: 'lz4' },
}

/** What a file system is made with. Encryption is none of it: a dataset is encrypted as, and by the key of, the one it is made in. */
export const propertiesOf = ({ profile, compression, recordsize }: DatasetOptions): Properties => ({
  ...(profile === undefined ? {} : profiles[profile]),
  ...(compression === undefined ? {} : { compression }),
  ...(recordsize === undefined ? {} : { recordsize }),
})

export class Options implements OptionsFacet {
  readonly #pool: string
  readonly #command: ZfsCommand

  constructor(pool: string, command: ZfsCommand) {
    this.#pool = pool
    this.#command = command
  }

  async check({ encryption }: DatasetOptions): Promise<void> {
    if (encryption === undefined) return
    const found = (await this.#command.get(this.#pool, ['encryption']))?.get(this.#pool)?.get('encryption')
    if (found === undefined) throw missing(this.#pool)
    if ((found === 'off') === (encryption === 'off')) return
    const [is, way] =
      found === 'off'
        ? ['not encrypted', 'use one that was made with zfs create -o encryption=on -o keyformat=...']
        : ['encrypted, and so is all in it', 'use another one']
    throw new DroverError(
      'BAD_REQUEST',
      `pool zfs:${this.#pool} is ${is}; for encryption=${encryption} ${way}, or leave the option out`,
    )
  }
}
