import { DroverError } from '../../domain/errors.ts'
import { readIfExists } from '../../lib/files.ts'
import type { Received } from './receive.ts'

/** @throws STREAM_FAILED unless the proof there is that the tree is this snapshot's */
export const demandProof = async (proofPath: string, identity: string): Promise<void> => {
  const text = await readIfExists(proofPath)
  const found = text === null ? null : (JSON.parse(text) as Received).identity
  if (found === identity) return
  throw new DroverError(
    'STREAM_FAILED',
    `what arrived at ${proofPath} is ${found === null ? 'incomplete' : found}, not snapshot ${identity}; send it again`,
  )
}
