import { readFileSync } from 'node:fs'

/** Of this program; package.json is two floors up from source and from what is built. */
export const ownVersion = (): string => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
