import { DroverError } from '../../domain/errors.ts'

/** What `btrfs subvolume show --raw` says of one subvolume, as far as Drover uses it. */
export interface SubvolumeInfo {
  readonly id: number
  readonly uuid: string
  /** The subvolume that this one was made from by a snapshot; null: from none. */
  readonly parentUuid: string | null
  /** The identity that came with a stream; null: not received. */
  readonly receivedUuid: string | null
  /** Transaction of the last change of the tree; see generation.ts for what that does and does not say. */
  readonly generation: number
  /** Transaction in which it was made. */
  readonly bornGeneration: number
  readonly readOnly: boolean
  /** Bytes it may refer to; null: no limit, or no quotas on the pool. */
  readonly limitBytes: number | null
}

export interface ListedSubvolume {
  readonly id: number
  readonly generation: number
  /** From the top of the file system, not from the pool. */
  readonly path: string
}

export interface QgroupUsage {
  readonly subvolumeId: number
  readonly referencedBytes: number
}

const unreadable = (what: string, text: string): DroverError =>
  new DroverError('COMMAND_FAILED', `the answer of ${what} is not understood; is this btrfs-progs 6.2 or later?`, {
    details: { text: text.slice(0, 2048) },
  })

const uuidShape = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export const parseShow = (text: string): SubvolumeInfo => {
  const field = (label: string): string => {
    // The first line is the path and the list of snapshots holds paths too: only lines of exactly one tab are fields.
    const value = new RegExp(`^\\t${label}:[ \\t]+(.*)$`, 'm').exec(text)?.[1]?.trim()
    if (value === undefined || value === '') throw unreadable('btrfs subvolume show', text)
    return value
  }
  const uuid = (label: string): string | null => {
    const value = field(label)
    if (value === '-') return null
    if (!uuidShape.test(value)) throw unreadable('btrfs subvolume show', text)
    return value
  }
  const whole = (label: string): number => {
    const value = field(label)
    if (!/^\d+$/.test(value)) throw unreadable('btrfs subvolume show', text)
    return Number(value)
  }
  const own = uuid('UUID')
  if (own === null) throw unreadable('btrfs subvolume show', text)
  const limit = /^\t {2}Limit referenced:[ \t]+(\d+)$/m.exec(text)?.[1]
  return {
    id: whole('Subvolume ID'),
    uuid: own,
    parentUuid: uuid('Parent UUID'),
    receivedUuid: uuid('Received UUID'),
    generation: whole('Generation'),
    bornGeneration: whole('Gen at creation'),
    readOnly: field('Flags').split(/[ ,]+/).includes('readonly'),
    limitBytes: limit === undefined ? null : Number(limit),
  }
}

/** `-a` marks paths outside the subvolume asked about. A path may hold newlines: a line that does not begin like a row belongs to the path before it. */
export const parseList = (text: string): ListedSubvolume[] => {
  const rows: { id: number; generation: number; path: string }[] = []
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const row = /^ID (\d+) gen (\d+) top level \d+ path (.*)$/.exec(line)
    const last = rows.at(-1)
    if (row !== null)
      rows.push({ id: Number(row[1]), generation: Number(row[2]), path: (row[3] ?? '').replace(/^<FS_TREE>\//, '') })
    else if (last !== undefined) last.path += `\n${line}`
    else if (line !== '') throw unreadable('btrfs subvolume list', text)
  }
  return rows
}

/** Only the groups of single subvolumes (level 0). */
export const parseQgroups = (text: string): QgroupUsage[] => {
  const rows: QgroupUsage[] = []
  for (const line of text.split('\n')) {
    const row = /^0\/(\d+)[ \t]+(\d+)[ \t]+\d+\b/.exec(line)
    if (row !== null) rows.push({ subvolumeId: Number(row[1]), referencedBytes: Number(row[2]) })
  }
  return rows
}

/** The marker that `find-new` prints last: the generation of the subvolume on disk. */
export const parseMarker = (text: string): number => {
  const marker = /^transid marker was (\d+)$/m.exec(text.slice(-256))?.[1]
  if (marker === undefined) throw unreadable('btrfs subvolume find-new', text)
  return Number(marker)
}

/**
 * The head of a send stream names the transaction of the subvolume's last change from within ("ctransid").
 * Layout: magic of 13 bytes, u32 version, then a command (u32 length, u16 kind, u32 checksum) of attributes
 * (u16 kind, u16 length, bytes), all little endian. Null: more bytes are needed.
 */
export const parseStreamHead = (bytes: Buffer): { uuid: string; changed: number } | null => {
  if (bytes.length < 27) return null
  const commandBytes = bytes.readUInt32LE(17)
  const kind = bytes.readUInt16LE(21)
  if (bytes.toString('latin1', 0, 13) !== 'btrfs-stream\0' || kind !== 1 || commandBytes > 65_536) {
    throw new DroverError('COMMAND_FAILED', 'btrfs send wrote a stream whose head is not understood')
  }
  if (bytes.length < 27 + commandBytes) return null
  let uuid: string | null = null
  let changed: number | null = null
  for (let at = 27; at + 4 <= 27 + commandBytes; ) {
    const attribute = bytes.readUInt16LE(at)
    const length = bytes.readUInt16LE(at + 2)
    if (attribute === 1 && length === 16) uuid = formatUuid(bytes.toString('hex', at + 4, at + 20))
    if (attribute === 2 && length === 8) changed = Number(bytes.readBigUInt64LE(at + 4))
    at += 4 + length
  }
  if (uuid === null || changed === null) {
    throw new DroverError('COMMAND_FAILED', 'btrfs send wrote a stream that does not name its snapshot')
  }
  return { uuid, changed }
}

const formatUuid = (hex: string): string => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')

/** `btrfs --version`, such as `btrfs-progs v6.2`. */
export const parseVersion = (stdout: string): { major: number; minor: number } | null => {
  const [, major, minor] = /^btrfs-progs v(\d+)\.(\d+)/m.exec(stdout) ?? []
  return major === undefined || minor === undefined ? null : { major: Number(major), minor: Number(minor) }
}
