import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { parseAddress } from './address.ts'

const bridges = /^(docker|br-|veth|virbr|cni|podman)/

/** The address other hosts use: as given, or of the first network card when we listen on all of them. */
export const advertisedAddress = (listen: string, advertise: string | null): string => {
  if (advertise !== null) return advertise
  const { host, port } = parseAddress(listen)
  return `${bracket(isAny(host) ? firstAddress() : host)}:${port}`
}

/** The data port beside it, on the same address. */
export const advertisedData = (address: string, dataListen: string): string => {
  const data = parseAddress(dataListen)
  return `${bracket(isAny(data.host) ? parseAddress(address).host : data.host)}:${data.port}`
}

const isAny = (host: string): boolean => ['0.0.0.0', '::'].includes(host)

const bracket = (host: string): string => (isIPv6(host) ? `[${host}]` : host)

const firstAddress = (): string => {
  const cards = Object.entries(networkInterfaces()).filter(([name]) => !bridges.test(name))
  const addresses = cards.flatMap(([, entries]) => entries ?? []).filter(({ internal }) => !internal)
  return (addresses.find(({ family }) => family === 'IPv4') ?? addresses[0])?.address ?? '127.0.0.1'
}

/** Whether both addresses lie in one of the networks that the operator declared trusted. */
export const trustedBetween = (networks: readonly string[], one: string, other: string): boolean =>
  networks.some((network) => {
    const [address = '', bits = ''] = network.split('/')
    const list = new BlockList()
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    list.addSubnet(address, Number(bits), family)
    return [one, other].every((text) => {
      const { host } = parseAddress(text)
      return list.check(host, isIPv6(host) ? 'ipv6' : 'ipv4')
    })
  })
