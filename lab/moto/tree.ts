import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { LabError } from '../command.ts'
import { signalProcess } from '../processes.ts'
import { cacheDirectory, withLock } from '../state.ts'
import { findMirror, type Mirror } from '../vm/mirror.ts'
import { withWorkDirectory } from '../vm/work-directory.ts'

const suite = 'trixie'
const packages = 'python3-moto,python3-flask-cors,python3-cffi-backend'
const longestMs = 10 * 60_000

/**
 * The root of a Debian that has moto, built once a machine and kept outside the repository; by the recipe and the release of the mirror, which names the
 * versions of all packages. Without a mirror the newest one of this recipe serves.
 */
export const motoTree = (): Promise<string> =>
  withLock('moto', async () => {
    const directory = join(cacheDirectory(), 'moto')
    mkdirSync(directory, { recursive: true })
    const script = join(import.meta.dirname, 'build-tree.sh')
    const recipe = digest([suite, packages, readFileSync(script, 'utf8')].join('\n'))
    // Who builds holds the lock: what lies there of a build is of one that was killed.
    clear(directory, (name) => name.startsWith('.build-'))
    const mirror = await findMirror(suite)
    if ('problem' in mirror) {
      const newest = newestOf(directory, `tree-${recipe}-`)
      if (newest === null) throw new LabError(`${mirror.problem}, and no tree with moto was built before`)
      return newest
    }
    const home = join(directory, `tree-${recipe}-${digest(mirror.release)}`)
    if (!existsSync(home)) {
      await build(directory, home, script, mirror)
      clear(directory, (name) => name.startsWith('tree-') && join(directory, name) !== home)
    }
    return home
  })

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12)

const clear = (directory: string, isOld: (name: string) => boolean): void => {
  for (const name of readdirSync(directory).filter(isOld)) rmSync(join(directory, name), { recursive: true })
}

const newestOf = (directory: string, start: string): string | null => {
  const homes = readdirSync(directory).filter((name) => name.startsWith(start))
  return homes.map((name) => join(directory, name)).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] ?? null
}

const build = async (directory: string, home: string, script: string, mirror: Mirror): Promise<void> => {
  console.error('moto: building a Debian 13 that has it; once a machine, a minute or so')
  const log = join(directory, 'build.log')
  const work = mkdtempSync(join(directory, '.build-'))
  await withWorkDirectory(work, async (runs) => {
    const fd = openSync(log, 'w')
    // It ends with us, and what it started and mounted with it.
    const child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--pid', '--fork', '--kill-child'],
        ...['--propagation', 'private', '--', 'bash', script, join(work, 'tree'), mirror.url, suite, packages],
      ],
      { stdio: ['ignore', fd, fd] },
    )
    closeSync(fd)
    const ref = runs(child.pid)
    const outOfTime = setTimeout(() => ref !== null && signalProcess(ref, 'SIGKILL'), longestMs)
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve)
      child.once('error', (error) => reject(new LabError(`the tree with moto cannot be built: ${error.message}`)))
    }).finally(() => clearTimeout(outOfTime))
    if (code !== 0) {
      const tail = readFileSync(log, 'utf8').trim().split('\n').slice(-5).join(' | ')
      throw new LabError(
        `building the tree with moto failed (exit ${code ?? 'by a signal'}); ${log} ends with: ${tail}`,
      )
    }
    renameSync(join(work, 'tree'), home)
  })
}
