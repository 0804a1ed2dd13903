import { closeSync, openSync } from 'node:fs'
import { ioctl } from './ioctl.ts'

const getFlags = 0x80086601
const setFlags = 0x40086602
const immutableFlag = 0x10

const withFlags = <T>(path: string, work: (fd: number, flags: Buffer) => T): T => {
  const fd = openSync(path, 'r')
  try {
    const flags = Buffer.alloc(8)
    ioctl(fd, getFlags, flags)
    return work(fd, flags)
  } finally {
    closeSync(fd)
  }
}

/** Nobody, root included, can open it for writing, rename or remove it (chattr +i). */
export const isImmutable = (path: string): boolean =>
  withFlags(path, (_, flags) => (flags.readUInt32LE(0) & immutableFlag) !== 0)

/** Moves the file's ctime when it changes anything. @throws errno errors: ENOTTY, EOPNOTSUPP where the file system has no such flag */
export const setImmutable = (path: string, on: boolean): void =>
  withFlags(path, (fd, flags) => {
    const before = flags.readUInt32LE(0)
    const after = on ? before | immutableFlag : before & ~immutableFlag
    if (after === before) return
    flags.writeUInt32LE(after >>> 0, 0)
    ioctl(fd, setFlags, flags)
  })
