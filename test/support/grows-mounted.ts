import { readFileSync } from 'node:fs'

const capabilities = BigInt(`0x${/CapEff:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`)

/** ext4 grows while it is mounted only for who has CAP_SYS_RESOURCE, which containers and sandboxes are often without. */
export const growsMounted = ((capabilities >> 24n) & 1n) === 1n
