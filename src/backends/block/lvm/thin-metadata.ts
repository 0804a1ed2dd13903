import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { DroverError } from '../../../domain/errors.ts'
import { CommandError, type Exec } from '../../../lib/exec.ts'
import { readIfExists, syncDirectory, writeDurably } from '../../../lib/files.ts'
import { KeyedMutex } from '../../../lib/mutex.ts'
import type { Argv } from '../../backend.ts'
import type { Range } from '../differences.ts'
import type { MapperCommand } from './mapper-command.ts'
import { mappedMetadata, type ThinPool } from './names.ts'

/**
 * The pool's own tables, read through a metadata snapshot, of which a pool has one at a time and which outlives a crash. A marker stands
 * from before it is taken until it is given back: one that somebody else has taken is never given back by us.
 */
export class ThinMetadata {
  readonly #exec: Exec
  readonly #mapper: MapperCommand
  readonly #pool: ThinPool
  readonly #marker: string
  readonly #one = new KeyedMutex<'snapshot'>()

  constructor(exec: Exec, mapper: MapperCommand, pool: ThinPool, marker: string) {
    this.#exec = exec
    this.#mapper = mapper
    this.#pool = pool
    this.#marker = marker
  }

  /** Gives back what a crash left. */
  open(): Promise<void> {
    return this.#one.run('snapshot', async () => {
      if ((await readIfExists(this.#marker)) === null) return
      if ((await this.#mapper.poolStatus()).isHeld) await this.#release()
      else await rm(this.#marker, { force: true })
    })
  }

  /** Calls `use` with the ranges in which the two thin devices do not have the same chunks, or that the only one has. */
  changed(thinId: number, baseId: number | null, use: (ranges: AsyncIterable<Range>) => Promise<void>): Promise<void> {
    return this.#held(async ({ metadata, chunkBytes }) => {
      const argv: Argv =
        baseId === null
          ? ['thin_dump', '-m', '--dev-id', String(thinId), metadata]
          : ['thin_delta', '-m', '--snap1', String(thinId), '--snap2', String(baseId), metadata]
      await this.#lines(argv, (lines) =>
        use(baseId === null ? dumpedRanges(lines, chunkBytes) : deltaRanges(lines, chunkBytes)),
      )
    })
  }

  /** See `digestOf`. */
  digest(thinId: number): Promise<ThinDigest> {
    return this.#held(async ({ metadata }) => {
      let found: ThinDigest | null = null
      await this.#lines(['thin_dump', '-m', '--dev-id', String(thinId), metadata], async (lines) => {
        found = await digestOf(lines)
      })
      if (found !== null) return found
      throw new DroverError('DATASET_MISSING', `pool ${this.#pool.spec} has no thin device ${thinId}`)
    })
  }

  #held<T>(work: (of: { metadata: string; chunkBytes: number }) => Promise<T>): Promise<T> {
    return this.#one.run('snapshot', async () => {
      const { isHeld, chunkBytes } = await this.#mapper.poolStatus()
      if (isHeld && (await readIfExists(this.#marker)) === null) {
        throw new DroverError(
          'VOLUME_BUSY',
          `a metadata snapshot of pool ${this.#pool.spec} is held by somebody else; release it: dmsetup message ... release_metadata_snap`,
        )
      }
      if (isHeld) await this.#mapper.message('release_metadata_snap')
      await writeDurably(this.#marker, '')
      try {
        await this.#mapper.message('reserve_metadata_snap')
      } catch (error) {
        await rm(this.#marker, { force: true })
        throw error
      }
      try {
        return await work({ metadata: `/dev/mapper/${mappedMetadata(this.#pool)}`, chunkBytes })
      } finally {
        await this.#release()
      }
    })
  }

  async #release(): Promise<void> {
    await this.#mapper.message('release_metadata_snap')
    await rm(this.#marker, { force: true })
    await syncDirectory(dirname(this.#marker))
  }

  /** @throws CommandError when the command failed, whatever was made of its lines */
  async #lines(argv: Argv, use: (lines: AsyncIterable<string>) => Promise<unknown>): Promise<void> {
    const child = this.#exec.spawn(argv, ['ignore', 'pipe', 'pipe'])
    const exit = once(child, 'exit')
    if (child.stdout === null || child.stderr === null) throw new Error('no pipes')
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => {
      stderr = `${stderr}${chunk}`.slice(-4096)
    })
    const used = use(createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })).catch(
      (error: unknown) => {
        child.kill('SIGKILL')
        throw error
      },
    )
    const [[code]] = await Promise.all([exit, used])
    if (code !== 0) throw new CommandError(argv, typeof code === 'number' ? code : null, stderr)
  }
}

const numbersIn = (line: string): Map<string, number> =>
  new Map([...line.matchAll(/([a-z_]+)="(\d+)"/g)].map(([, name = '', value]) => [name, Number(value)]))

/** Of thin_delta: what is not `same`. */
export async function* deltaRanges(lines: AsyncIterable<string>, chunkBytes: number): AsyncGenerator<Range, void> {
  for await (const line of lines) {
    if (!/^\s*<(different|left_only|right_only) /.test(line)) continue
    const of = numbersIn(line)
    const [begin = 0, length = 0] = [of.get('begin'), of.get('length')]
    yield { start: begin * chunkBytes, end: (begin + length) * chunkBytes }
  }
}

interface Mapping {
  readonly origin: number
  readonly data: number
  readonly length: number
  readonly time: number
}

const mappingIn = (line: string): Mapping | null => {
  if (!/^\s*<(single|range)_mapping /.test(line)) return null
  const of = numbersIn(line)
  return {
    origin: of.get('origin_block') ?? of.get('origin_begin') ?? 0,
    data: of.get('data_block') ?? of.get('data_begin') ?? 0,
    length: of.get('length') ?? 1,
    time: of.get('time') ?? 0,
  }
}

/** Of thin_dump: what is mapped. */
export async function* dumpedRanges(lines: AsyncIterable<string>, chunkBytes: number): AsyncGenerator<Range, void> {
  for await (const line of lines) {
    const mapping = mappingIn(line)
    if (mapping === null) continue
    yield { start: mapping.origin * chunkBytes, end: (mapping.origin + mapping.length) * chunkBytes }
  }
}

export interface ThinDigest {
  /** Of which chunk lies where, and since when; it does not depend on how thin_dump puts runs together. */
  readonly digest: string
  /** Every chunk is one that a later write would not touch but replace: a snapshot of the device was made after all of them. */
  readonly isCopiedOnWrite: boolean
}

/** Of thin_dump; null: it told of no device. */
export const digestOf = async (lines: AsyncIterable<string>): Promise<ThinDigest | null> => {
  const hash = createHash('sha256')
  const add = ({ origin, data, length, time }: Mapping) => hash.update(`${origin} ${data} ${length} ${time}\n`)
  let snapTime: number | null = null
  let newest = -1
  let pending = null as Mapping | null
  for await (const line of lines) {
    if (/^\s*<device /.test(line)) snapTime = numbersIn(line).get('snap_time') ?? 0
    const mapping = mappingIn(line)
    if (mapping === null) continue
    newest = Math.max(newest, mapping.time)
    if (pending !== null && isNext(pending, mapping)) {
      pending = { ...pending, length: pending.length + mapping.length }
      continue
    }
    if (pending !== null) add(pending)
    pending = mapping
  }
  if (pending !== null) add(pending)
  return snapTime === null ? null : { digest: hash.digest('hex'), isCopiedOnWrite: newest < snapTime }
}

const isNext = (one: Mapping, next: Mapping): boolean =>
  next.time === one.time && next.origin === one.origin + one.length && next.data === one.data + one.length
