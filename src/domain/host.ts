import type { HostId } from './ids.ts'

/** A machine with a Docker engine and a `vold`. */
export interface Host {
  readonly id: HostId
  readonly name: string
  /** ADDR:PORT that other hosts reach its `vold` at. */
  readonly address: string
  /** ADDR:PORT of its data port. */
  readonly dataAddress: string
  readonly pools: readonly string[]
  /** Exactly one host has the control role. */
  readonly control: boolean
  /** SHA-256 of its certificate, hexadecimal. */
  readonly fingerprint: string
  readonly joinedAt: string
}
