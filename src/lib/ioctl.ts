import { constants } from 'node:os'
import koffi from 'koffi'

/** Node.js has no call for what only an ioctl tells or does. All of these answer at once; none waits for a disk. */
const libc = koffi.load(null)
const call = libc.func('int ioctl(int fd, unsigned long request, ...)')

/** @param bytes what the kernel reads and writes @throws errno errors */
export const ioctl = (fd: number, request: number, bytes: Buffer): void => {
  if (Number(call(fd, request, 'void *', bytes)) >= 0) return
  const errno = koffi.errno()
  const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
  throw Object.assign(new Error(`${code}: ioctl ${request.toString(16)}`), { code, errno, syscall: 'ioctl' })
}
