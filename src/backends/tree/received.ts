import { DroverError } from '../../domain/errors.ts'
import { readIfExists } from '../../lib/files.ts'
import type { Received } from './receive.ts'

/** The snapshot whose tree was proved to be there; null: none. */
export const readProof = async (proofPath: string): Promise<string | null> => {
  const text = await readIfExists(proofPath)
  return text === null ? null : (JSON.parse(text) as Received).identity
}

/** @throws STREAM_FAILED unless the proof there is that the tree is this snapshot's */
export const demandProof = async (proofPath: string, identity: string): Promise<void> => {
  const found = await readProof(proofPath)
  if (found === identity) return
  throw new DroverError(
    'STREAM_FAILED',
    `what arrived at ${proofPath} is ${found === null ? 'incomplete' : found}, not snapshot ${identity}; send it again`,
  )
}
