import { readdirSync, statSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { tryRun } from '../lab/command.ts'
import { formatSize } from '../src/domain/units.ts'
import { table } from './report.ts'

const firstLine = async (...argv: string[]): Promise<string> => {
  const { stdout, stderr } = await tryRun(argv)
  return (stdout || stderr).split('\n')[0]?.trim() ?? ''
}

/** As bin/vold decides it: from source it starts later and needs more memory. */
export const howVoldRuns = (): string => {
  const root = join(import.meta.dirname, '..')
  const built = statSync(join(root, 'dist', 'daemon-main.js'), { throwIfNoEntry: false })
  const newest = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .map((path) => statSync(join(root, 'src', path)))
    .filter((entry) => entry.isFile())
    .reduce((latest, { mtimeMs }) => Math.max(latest, mtimeMs), 0)
  return built !== undefined && newest <= built.mtimeMs ? 'as built' : 'from source, its types stripped at start'
}

/** What was measured on, when, and with which versions, as a Markdown table. */
export const describeMachine = async (): Promise<string> => {
  const dirty = (await tryRun(['git', 'status', '--porcelain', '--untracked-files=no'])).stdout.trim() !== ''
  const commit = await firstLine('git', 'rev-parse', '--short', 'HEAD')
  const processors = cpus()
  return table(
    ['', ''],
    [
      ['date', new Date().toISOString().slice(0, 16).replace('T', ' ').concat(' UTC')],
      ['Drover', `${commit || 'not a git checkout'}${dirty ? ', with changes' : ''}`],
      ['kernel', `${type()} ${release()}`],
      ['cores', `${processors.length} × ${processors[0]?.model.trim() ?? 'unknown'}`],
      ['memory', formatSize(totalmem())],
      ['Node.js', process.version],
      ['`vold`', howVoldRuns()],
      ['Docker engine', await firstLine('dockerd', '--version')],
      ['btrfs-progs', await firstLine('btrfs', '--version')],
      ['socat', (await tryRun(['socat', '-V'])).stdout.match(/socat version (\S+)/)?.[1] ?? 'unknown'],
    ],
  )
}
