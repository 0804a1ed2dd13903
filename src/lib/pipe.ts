import koffi from 'koffi'
import { errnoError } from './errno.ts'

/** Both ends are file descriptors of this process, closed on exec; the caller closes them. */
export interface Pipe {
  readonly readEnd: number
  readonly writeEnd: number
}

// Node gives children socket pairs of 208 KiB, and cannot make or widen a pipe.
const libc = koffi.load(null)
const pipe2 = libc.func('int pipe2(_Out_ int *fds, int flags)')
const fcntl = libc.func('int fcntl(int fd, int cmd, int arg)')

// Of linux/fcntl.h; equal on all architectures of Node's.
const closeOnExec = 0o2000000
const setPipeSize = 1031

/**
 * A pipe of this machine.
 * @param bytes how much it holds; a wish: a user other than root may get less
 * @throws errno errors, when no more descriptors are to be had
 */
export const openPipe = (bytes: number): Pipe => {
  const ends = [-1, -1]
  if (pipe2(ends, closeOnExec) !== 0) throw errnoError('pipe2', koffi.errno())
  const [readEnd = -1, writeEnd = -1] = ends
  fcntl(writeEnd, setPipeSize, bytes)
  return { readEnd, writeEnd }
}
