import { DroverError } from './errors.ts'

const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/
const hostName = /^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$/

/** Docker's own rule for names, and at most 128 characters: old engines pass anything on. */
export const checkVolumeName = (name: unknown): string => {
  if (typeof name === 'string' && volumeName.test(name)) return name
  const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 64)) : String(name)
  throw new DroverError(
    'BAD_NAME',
    `volume name ${shown} cannot be used; use 1 to 128 of a-z, A-Z, 0-9, _ . and -, beginning with a letter or digit`,
  )
}

export const checkHostName = (name: string): string => {
  if (hostName.test(name)) return name
  throw new DroverError(
    'BAD_NAME',
    `host name ${JSON.stringify(name.slice(0, 64))} cannot be used; use 1 to 63 letters, digits, dots and dashes`,
  )
}
