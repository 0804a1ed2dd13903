import { formatSize } from '../domain/units.ts'
import type { Verification } from '../domain/verification.ts'

/** A content proof in a few words. */
export const receipt = ({ state, snapshot, entries, bytes, digests, reason }: Verification): string => {
  if (state === 'failed') return `content not compared: ${reason}`
  const of = `${entries} entries, ${formatSize(bytes)} of ${snapshot}`
  const [digest = ''] = Object.values(digests)
  return state === 'equal' ? `content equal on both hosts (${of}, ${digest.slice(0, 12)})` : `content differs (${of})`
}
