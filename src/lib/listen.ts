import type { Server } from 'node:net'
import { DroverError } from '../domain/errors.ts'
import { isErrno } from './files.ts'

/** @throws ADDRESS_TAKEN, BAD_CONFIG when the address is not this machine's, NOT_PERMITTED */
export const listenTcp = (server: Server, { host, port }: { host: string; port: number }): Promise<void> =>
  new Promise((resolve, reject) => {
    const refused = (error: unknown) => reject(translate(error, `${host}:${port}`))
    server.once('error', refused)
    server.listen({ host, port }, () => {
      server.off('error', refused)
      resolve()
    })
  })

const translate = (error: unknown, where: string): unknown => {
  if (isErrno(error, 'EADDRINUSE'))
    return new DroverError('ADDRESS_TAKEN', `${where} is taken by another program; stop it, or use another port`)
  if (isErrno(error, 'EADDRNOTAVAIL', 'ENOTFOUND'))
    return new DroverError('BAD_CONFIG', `${where} is not an address of this machine; listen on one that is`)
  if (isErrno(error, 'EACCES'))
    return new DroverError('NOT_PERMITTED', `${where} may not be listened on; use a port above 1023 or run as root`)
  return error
}
