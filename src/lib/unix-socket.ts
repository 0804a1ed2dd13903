import { chmod, lstat, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { createConnection, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { DroverError } from '../domain/errors.ts'
import { isErrno } from './files.ts'

/** A server's place in the file system, for as long as it is still its own. */
export interface UnixListener {
  readonly path: string
  /** The file is still the one that was made. */
  isOurs(): Promise<boolean>
  /** Takes the socket file away, if it is still ours, and then ends the server. Idempotent. */
  close(): Promise<void>
}

/** sun_path of Linux, without the closing NUL. */
const longestPath = 107

/**
 * Listens on a unix socket at `path`, mode 0600 from its first instant: it is bound in a private directory beside it and
 * renamed into place, for a umask would be the whole process's. A stale socket is replaced, a live one is not.
 * The directory must exist.
 * @throws ADDRESS_TAKEN when somebody listens there or something else than a socket is in the way; BAD_CONFIG; NOT_PERMITTED
 */
export const listenOnUnixSocket = async (server: Server, path: string): Promise<UnixListener> => {
  if (Buffer.byteLength(path) > longestPath) {
    throw new DroverError(
      'BAD_CONFIG',
      `socket path ${path} is longer than the ${longestPath} bytes that Linux allows; use a shorter directory`,
    )
  }
  await refuseIfTaken(path)
  const nursery = await mkdtemp(`${dirname(path)}/.`).catch((error: unknown) => {
    throw placeError(path, error)
  })
  try {
    const born = join(nursery, 's')
    await listen(server, born)
    try {
      await chmod(born, 0o600)
      const { dev, ino } = await stat(born)
      await rename(born, path)
      const own = { dev, ino }
      return { path, isOurs: () => isAt(path, own), close: once(() => leave(server, path, own)) }
    } catch (error) {
      await closeServer(server)
      throw placeError(path, error)
    }
  } finally {
    await rm(nursery, { recursive: true, force: true })
  }
}

const listen = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })

const refuseIfTaken = async (path: string): Promise<void> => {
  const there = await lstat(path).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return null
    throw placeError(path, error)
  })
  if (there === null) return
  if (!there.isSocket()) {
    throw new DroverError('ADDRESS_TAKEN', `${path} is not a socket; remove it, or name another place`)
  }
  if (await answers(path)) {
    throw new DroverError('ADDRESS_TAKEN', `somebody listens on ${path} already; stop that process first`)
  }
}

/** Only a refusal proves that nobody listens: a full backlog or a missing right does not. */
const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createConnection(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error) => resolve(!isErrno(error, 'ECONNREFUSED', 'ENOENT')))
  })

const leave = async (server: Server, path: string, own: { dev: number; ino: number }): Promise<void> => {
  // First the name, then the server: a name without a listener costs every Docker client 15 seconds.
  if (await isAt(path, own)) await rm(path, { force: true })
  await closeServer(server)
}

const isAt = async (path: string, own: { dev: number; ino: number }): Promise<boolean> => {
  const there = await lstat(path).catch(() => null)
  return there !== null && there.dev === own.dev && there.ino === own.ino
}

const closeServer = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()))

const once = (work: () => Promise<void>): (() => Promise<void>) => {
  let running: Promise<void> | undefined
  return () => {
    running ??= work()
    return running
  }
}

const placeError = (path: string, error: unknown): DroverError => {
  if (error instanceof DroverError) return error
  const why = error instanceof Error ? error.message : String(error)
  return isErrno(error, 'EACCES', 'EPERM', 'EROFS')
    ? new DroverError('NOT_PERMITTED', `no socket can be made at ${path}: ${why}; run vold as root`, { cause: error })
    : new DroverError('BAD_CONFIG', `no socket can be made at ${path}: ${why}`, { cause: error })
}
