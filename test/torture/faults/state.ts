import { existsSync, rmSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { repository } from '../../../lab/host.ts'
import { everywhere, type Fault, type Scene } from '../fault.ts'
import { dataDir } from '../stage.ts'

const stateOf = ({ control }: Scene): string => control.path(`${dataDir}/control/state.db`)
const copyOf = (scene: Scene): string => `${stateOf(scene)}.kept`
/** Kept since the lab came up, many moves ago. */
const oldestOf = (scene: Scene): string => `${stateOf(scene)}.oldest`

/** By SQLite's own means, on the host itself: a copy of the file alone lacks what its log holds. */
const backUp = async ({ control }: Scene): Promise<void> => {
  const file = `${dataDir}/control/state.db`
  const script = `import Database from 'better-sqlite3'
const database = new Database('${file}', { readonly: true })
await database.backup('${file}.kept')
database.close()`
  await control.exec(['sh', '-c', 'cd "$1" && exec node --input-type=module -e "$2"', 'sh', repository, script])
}

const removeState = (scene: Scene): void => {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${stateOf(scene)}${suffix}`, { force: true })
}

const replaced = (name: string, says: string, put: (scene: Scene) => Promise<void>): Fault => ({
  name,
  says,
  notIn: everywhere,
  prepare: async (scene) => {
    await backUp(scene)
    if (!existsSync(oldestOf(scene))) await copyFile(copyOf(scene), oldestOf(scene))
  },
  strike: async (scene) => {
    await scene.control.killVold()
    removeState(scene)
    await put(scene)
    return true
  },
  mend: async ({ control }) => {
    await control.startVold()
    await control.vol('recover')
  },
  mended: 'soon',
  noWriterIn: [],
})

export const stateFaults = [
  replaced('state-lost', "the control role's state file is lost while vold is down; vol recover", async () => {}),
  replaced('state-old', 'it is an older copy, of before the move or of long ago; vol recover', async (scene) => {
    await copyFile(scene.random.chance(0.5) ? copyOf(scene) : oldestOf(scene), stateOf(scene))
  }),
]
