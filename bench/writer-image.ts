import { once } from 'node:events'
import { closeSync, copyFileSync, cpSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError, run } from '../lab/command.ts'
import type { LabHost } from '../lab/host.ts'
import { cachedArchive } from '../lab/images/archive.ts'

export const writerImage = 'bench-writer'
const recipeVersion = '1'
const modules = '/usr/lib/x86_64-linux-gnu/perl-base'
const program = join(import.meta.dirname, 'writer.pl')

/** Perl of Debian's perl-base, which every Debian has, with its libraries and the writer: it starts in milliseconds. */
const archive = async (): Promise<string> =>
  cachedArchive({
    name: writerImage,
    key: [recipeVersion, (await run(['dpkg-query', '--show', 'perl-base'])).stdout, readFileSync(program)].join('\n'),
    config: { Entrypoint: ['/usr/bin/perl', '/writer.pl'], Cmd: ['/data', '/acks/acknowledged'] },
    fill: async (root) => {
      const { stdout } = await run(['ldd', '/usr/bin/perl'])
      const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '')
      await run(['cp', '--parents', '--dereference', ...libraries, '/usr/bin/perl', root])
      cpSync(modules, join(root, modules), { recursive: true })
      copyFileSync(program, join(root, 'writer.pl'))
    },
  })

/** @throws {LabError} */
export const loadWriterImage = async (hosts: readonly LabHost[]): Promise<void> => {
  const path = await archive()
  for (const host of hosts) {
    const file = openSync(path, 'r')
    const child = host.spawn(['docker', 'load', '--quiet'], [file, 'ignore', 'inherit'])
    closeSync(file)
    const [code] = await once(child, 'close')
    if (code !== 0) throw new LabError(`image ${writerImage} could not be loaded on ${host.name}`)
  }
}
