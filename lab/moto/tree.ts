import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError } from '../command.ts'
import { cacheDirectory, withLock } from '../state.ts'
import { build, clear, clearHalfBuilt, keyOf, newestOf } from '../vm/builds.ts'
import { findMirror } from '../vm/mirror.ts'

const suite = 'trixie'
const packages = 'python3-moto,python3-flask-cors,python3-cffi-backend'

/**
 * The root of a Debian that has moto, built once a machine and kept outside the repository; by the recipe and the release of the mirror, which names the
 * versions of all packages. Without a mirror the newest one of this recipe serves.
 */
export const motoTree = (): Promise<string> =>
  withLock('moto', async () => {
    const directory = join(cacheDirectory(), 'moto')
    mkdirSync(directory, { recursive: true })
    const script = join(import.meta.dirname, 'build-tree.sh')
    const recipe = keyOf([suite, packages, readFileSync(script, 'utf8')].join('\n'))
    clearHalfBuilt(directory)
    const mirror = await findMirror(suite)
    if ('problem' in mirror) {
      const newest = newestOf(directory, `tree-${recipe}-`)
      if (newest === null) throw new LabError(`${mirror.problem}, and no tree with moto was built before`)
      return newest
    }
    const home = join(directory, `tree-${recipe}-${keyOf(mirror.release)}`)
    if (!existsSync(home)) {
      console.error('moto: building a Debian 13 that has it; once a machine, a minute or so')
      await build(directory, home, {
        ...{ what: 'the tree with moto', minutes: 10, makes: 'tree' },
        script: (work) => [script, join(work, 'tree'), mirror.url, suite, packages],
      })
      clear(directory, (name) => name.startsWith('tree-') && join(directory, name) !== home)
    }
    return home
  })
