import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from '../command.ts'
import { signalProcess } from '../processes.ts'
import { withWorkDirectory } from './work-directory.ts'

/* What is built once a machine and kept in a directory of the cache, under names that say of what. */

const minute = 60_000

export const keyOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12)

export const clear = (directory: string, isOld: (name: string) => boolean): void => {
  for (const name of readdirSync(directory).filter(isOld))
    rmSync(join(directory, name), { recursive: true, force: true })
}

/** Who builds holds the lock: what lies there of a build is of one that was killed. */
export const clearHalfBuilt = (directory: string): void => clear(directory, (name) => name.startsWith('.build-'))

export const newestOf = (directory: string, start: string): string | null => {
  const homes = readdirSync(directory).filter((name) => name.startsWith(start))
  return homes.map((name) => join(directory, name)).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0] ?? null
}

export interface Build {
  /** For people: `the guest`. */
  readonly what: string
  readonly minutes: number
  /** Arguments of bash: a script that makes a directory of this name in the one that it is given. */
  readonly script: (work: string) => readonly string[]
  readonly makes: string
}

/** Runs the script, its output in `build.log`, and gives what it made its name. @throws {LabError} */
export const build = async (
  directory: string,
  home: string,
  { what, minutes, script, makes }: Build,
): Promise<void> => {
  const log = join(directory, 'build.log')
  const work = mkdtempSync(join(directory, '.build-'))
  await withWorkDirectory(work, async (runs) => {
    const fd = openSync(log, 'w')
    // It ends with us, and what it started and mounted with it.
    const child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--pid', '--fork', '--kill-child'],
        ...['--propagation', 'private', '--', 'bash', ...script(work)],
      ],
      { stdio: ['ignore', fd, fd] },
    )
    closeSync(fd)
    const ref = runs(child.pid)
    const outOfTime = setTimeout(() => ref !== null && signalProcess(ref, 'SIGKILL'), minutes * minute)
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve)
      child.once('error', (error) => reject(new LabError(`${what} cannot be built: ${error.message}`)))
    }).finally(() => clearTimeout(outOfTime))
    if (code !== 0) {
      const tail = readFileSync(log, 'utf8').trim().split('\n').slice(-5).join(' | ')
      const how = code === null ? `was cut off after ${minutes} minutes` : `failed (exit ${code})`
      throw new LabError(`building ${what} ${how}; ${log} ends with: ${tail}`)
    }
    renameSync(join(work, makes), home)
  })
}
