import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { isErrno } from '../lib/files.ts'
import type { ContainerSpec } from './runtime.ts'

export type HostPort = ContainerSpec['hostPorts'][number]
export type PortState = 'free' | 'taken' | 'no such address'

/** Asks the kernel by binding, in this network namespace, and lets go at once. An empty ip is every address. */
export const probePort = async (wanted: HostPort): Promise<PortState> => {
  const bind = wanted.protocol === 'tcp' ? bindTcp : wanted.protocol === 'udp' ? bindUdp : null
  if (bind === null) return 'free'
  const every = wanted.ip === ''
  for (const ip of every ? ['0.0.0.0', '::'] : [wanted.ip]) {
    try {
      await bind(ip, wanted.port)
    } catch (error) {
      if (isErrno(error, 'EADDRINUSE')) return 'taken'
      // A host without IPv6 still publishes on every address that it has.
      if (isErrno(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL')) {
        if (every) continue
        return 'no such address'
      }
      throw error
    }
  }
  return 'free'
}

const bindTcp = (host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ host, port, exclusive: true, ipv6Only: true }, () => server.close(() => resolve()))
  })

const bindUdp = (address: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', ipv6Only: true })
    socket.once('error', (error) => {
      socket.close()
      reject(error)
    })
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve()))
  })
