import { DroverError } from './errors.ts'

const factors: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 }

/** `10G`, `512MiB`, `1073741824`: whole bytes, powers of 1024 whichever way the unit is written. */
export const parseSize = (text: string): number => {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim())
  const bytes = Math.round(Number(match?.[1]) * (factors[match?.[2]?.toLowerCase() ?? ''] ?? Number.NaN))
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new DroverError(
      'BAD_SIZE',
      `size ${JSON.stringify(text)} is not a size; write a whole number and a unit, such as 10G`,
    )
  }
  return bytes
}

/** Bytes for people: `1.5 GiB`. */
export const formatSize = (bytes: number): string => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

const durations: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `500ms`, `2s`, `5m`, `24h`; a bare number is seconds. Answers milliseconds. */
export const parseDuration = (text: string): number => {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/i.exec(text.trim())
  const ms = Math.round(Number(match?.[1]) * (durations[match?.[2]?.toLowerCase() ?? 's'] ?? Number.NaN))
  if (!Number.isSafeInteger(ms) || ms < 0) {
    throw new DroverError(
      'BAD_REQUEST',
      `${JSON.stringify(text)} is not a time; write a number and a unit, such as 500ms, 2s or 5m`,
    )
  }
  return ms
}

/** `900 ms`, `1.4 s`, `2 m 5 s`. */
export const formatDuration = (ms: number): string => {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
}
