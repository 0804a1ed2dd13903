import type { Exec } from '../lib/exec.ts'
import { ensureDirectory } from '../lib/files.ts'
import { ownMounts } from '../lib/mountinfo.ts'

/**
 * Makes the directory above the stable mount paths a private mount of its own. Under a shared parent, as `/` is where systemd
 * runs, every mount would be copied into other namespaces before it could be made private, and keep the volume busy there for
 * ever. @returns nothing; safe to repeat
 */
export const ensurePrivateMountRoot = async (exec: Exec, path: string): Promise<void> => {
  await ensureDirectory(path)
  const mounted = (await ownMounts()).some(({ mountPoint }) => mountPoint === path)
  if (!mounted) await exec.run(['mount', '--bind', path, path])
  await exec.run(['mount', '--make-private', path])
}
