import { readdir } from 'node:fs/promises'
import { readIfExists } from './files.ts'
import { allMounts } from './mountinfo.ts'

/**
 * Loop devices of this file, or of one that was deleted under its name, that no mount namespace has mounted: they back nothing.
 * @returns such as `/dev/loop3`
 */
export const idleLoopsOf = async (file: string): Promise<string[]> => {
  const ours: string[] = []
  for (const name of (await readdir('/sys/block')).filter((entry) => /^loop\d+$/.test(entry))) {
    const backing = (await readIfExists(`/sys/block/${name}/loop/backing_file`))?.trimEnd()
    if (backing === file || backing === `${file} (deleted)`) ours.push(`/dev/${name}`)
  }
  if (ours.length === 0) return []
  const { namespaces } = await allMounts()
  const mounted = new Set(namespaces.flatMap(({ entries }) => entries.map(({ source }) => source)))
  return ours.filter((device) => !mounted.has(device))
}
