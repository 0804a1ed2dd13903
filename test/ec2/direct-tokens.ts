import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

const secret = randomBytes(16)
const macBytes = 12

const macOf = (what: string, expiresAt: string): Buffer =>
  createHmac('sha256', secret).update(`${what}\n${expiresAt}`).digest().subarray(0, macBytes)

/** A token for exactly this, until then. */
export const tokenFor = (what: string, expiresAt: number): string => {
  const time = String(Math.round(expiresAt))
  return Buffer.concat([macOf(what, time), Buffer.from(time)]).toString('base64')
}

/** Whether the token was given for this and has not expired. */
export const isTokenFor = (token: string, what: string, now: number): boolean => {
  const bytes = Buffer.from(token, 'base64')
  if (bytes.length <= macBytes) return false
  const time = bytes.subarray(macBytes).toString()
  return timingSafeEqual(bytes.subarray(0, macBytes), macOf(what, time)) && Number(time) > now
}
