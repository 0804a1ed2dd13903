import { join } from 'node:path'
import { DroverError } from '../domain/errors.ts'
import { readIfExists, writeJsonDurably } from './files.ts'

/** Who this machine is, by what a restored or cloned one does not share: systemd's machine id and the firmware's serial. */
export const readMachineIdentity = async (root = '/'): Promise<string> => {
  const [machineId, firmware] = await Promise.all(
    ['etc/machine-id', 'sys/class/dmi/id/product_uuid'].map((path) => readIfExists(join(root, path)).catch(() => null)),
  )
  return [machineId, firmware].map((text) => text?.trim() ?? '').join(' ')
}

/**
 * The data directory belongs to the machine that made it. On another one its records prove nothing: the machine it was copied from may
 * be running, and writing the same volumes.
 * @param confirmed an operator says that the other machine is gone for good
 * @throws MACHINE_CHANGED
 */
export const bindToMachine = async (dataDir: string, identity: string, confirmed: boolean): Promise<void> => {
  const path = join(dataDir, 'machine.json')
  const text = await readIfExists(path)
  const bound: unknown = text === null ? null : JSON.parse(text).identity
  if (bound === identity) return
  if (bound !== null && !confirmed) {
    throw new DroverError(
      'MACHINE_CHANGED',
      `${dataDir} is of another machine (restored or cloned?); make sure that one never runs again, then start vold once with --confirm-machine`,
    )
  }
  await writeJsonDurably(path, { identity })
}
