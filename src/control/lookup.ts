import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { isId, moveId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import { checkVolumeName } from '../domain/names.ts'
import type { Volume } from '../domain/volume.ts'
import type { Store } from '../state/store.ts'

/** @throws NO_SUCH_VOLUME, BAD_NAME */
export const volumeByName = async (store: Store, name: string): Promise<Volume> => {
  const volume = await store.volumeByName(checkVolumeName(name))
  if (volume !== null) return volume
  throw new DroverError('NO_SUCH_VOLUME', `volume ${name} does not exist; vol ls shows those that do`)
}

/** @throws NO_SUCH_HOST */
export const hostByName = async (store: Store, name: string): Promise<Host> => {
  const hosts = await store.hosts()
  const host = hosts.find((other) => other.name === name)
  if (host !== undefined) return host
  throw new DroverError(
    'NO_SUCH_HOST',
    `host ${JSON.stringify(name.slice(0, 64))} is not in the cluster; its hosts are ${hosts.map((other) => other.name).join(', ')}`,
  )
}

/** @throws NO_SUCH_MOVE */
export const moveById = async (store: Store, id: string): Promise<MoveRecord> => {
  const move = isId(id) ? await store.move(moveId(id)) : null
  if (move !== null) return move
  throw new DroverError(
    'NO_SUCH_MOVE',
    `move ${JSON.stringify(id.slice(0, 64))} does not exist; vol moves shows those that do`,
  )
}
