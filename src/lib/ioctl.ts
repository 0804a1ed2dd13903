import koffi from 'koffi'
import { errnoError } from './errno.ts'

/** Node.js has no call for what only an ioctl tells or does. All of these answer at once; none waits for a disk. */
const libc = koffi.load(null)
const call = libc.func('int ioctl(int fd, unsigned long request, ...)')

/** @param bytes what the kernel reads and writes @throws errno errors */
export const ioctl = (fd: number, request: number, bytes: Buffer): void => {
  if (Number(call(fd, request, 'void *', bytes)) >= 0) return
  throw errnoError('ioctl', koffi.errno(), `ioctl ${request.toString(16)}`)
}
