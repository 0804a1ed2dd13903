import { DroverError } from '../domain/errors.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/** `10.0.0.1:7460`, `db1.lan:7460`, `[fd00::1]:7460`. @throws BAD_REQUEST */
export const parseAddress = (text: string): Address => {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port >= 1 && port <= 65_535)) {
    throw new DroverError(
      'BAD_REQUEST',
      `${JSON.stringify(text.slice(0, 128))} is not an address; write ADDR:PORT, such as 10.0.0.1:7460`,
    )
  }
  return { host, port }
}
