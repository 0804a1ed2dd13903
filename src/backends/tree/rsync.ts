import type { Exec } from '../../lib/exec.ts'
import type { Argv } from '../backend.ts'
import type { BatchOptions } from './frames.ts'

/**
 * rsync in batch mode: at the source it compares two trees there and writes what makes one into the other; at the target it does just
 * that to a copy of the other. Neither end needs to hear from the other, so the stream goes where every stream goes.
 *
 * Protocol 31 is that of Debian 12's first rsync: newer ones write it too. In it whole files are proved by MD5.
 */
const common = [
  ...['rsync', '--archive', '--hard-links', '--acls', '--xattrs', '--sparse', '--numeric-ids', '--delete'],
  // Times by the nanosecond: a second holds many changes.
  ...['--modify-window=-1', '--no-whole-file', '--protocol=31', '--quiet'],
  // How a pool stores a file, or an ACL, is not what is in it.
  ...['--filter=-x btrfs.*', '--filter=-x trusted.SGI_ACL_*'],
]

const optionsOf = ({ inPlace, ignoreTimes, blockBytes }: BatchOptions): string[] => [
  `--block-size=${blockBytes}`,
  ...(inPlace ? ['--inplace'] : []),
  ...(ignoreTimes ? ['--ignore-times'] : []),
]

/** Writes to `batch` what makes the tree `base` into the tree `top`, and changes neither. */
export const writeBatch = (top: string, base: string, batch: string, options: BatchOptions): Argv => [
  ...rsync(options),
  ...[`--only-write-batch=${batch}`, '--', `${top}/`, `${base}/`],
]

/** Reads a batch from stdin, and changes `tree` by it. */
export const readBatch = (tree: string, options: BatchOptions): Argv => [
  ...rsync(options),
  ...['--read-batch=-', '--', `${tree}/`],
]

const rsync = (options: BatchOptions): [string, ...string[]] => {
  const [program = 'rsync', ...rest] = common
  return [program, ...rest, ...optionsOf(options)]
}

const smallestBlockBytes = 4096
/** The most that rsync takes. */
const largestBlockBytes = 128 * 1024
/** For each of a file's blocks rsync keeps some 50 bytes in memory. */
const mostBlocks = 2 ** 22

/** As small as a page where memory allows: what changes in a database is pages, and whole blocks are shipped. */
export const blockBytesFor = (largestFileBytes: bigint): number => {
  let bytes = smallestBlockBytes
  while (bytes < largestBlockBytes && largestFileBytes / BigInt(bytes) > BigInt(mostBlocks)) bytes *= 2
  return bytes
}

/** Looks whether rsync is there, once it was found no more. */
export class RsyncCheck {
  readonly #exec: Exec
  #isThere = false

  constructor(exec: Exec) {
    this.#exec = exec
  }

  /** @throws MISSING_PROGRAM */
  async check(): Promise<void> {
    if (!this.#isThere) await this.#exec.run(['rsync', '--version'])
    this.#isThere = true
  }
}
