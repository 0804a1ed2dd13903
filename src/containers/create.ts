import { DroverError } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import { createBody } from './create-body.ts'
import { type DockerClient, endMs, quickMs, refusalStatus } from './docker-client.ts'
import { imageNameHere } from './image.ts'
import { findContainer, removeContainer } from './lifecycle.ts'
import { type ContainerSpec, movedVolumes } from './runtime.ts'
import { inspectContainer } from './uses.ts'
import { droverDriver, isDroverDriver, isMountOf, moveLabel, type WireContainer } from './wire.ts'

interface Wanted {
  readonly spec: ContainerSpec
  readonly name: string
  readonly moveId: MoveId
  readonly dropMounts: readonly string[]
}

/** See ContainerRuntime.create. Safe to call again wherever an earlier call was cut off. */
export const createContainer = async (client: DockerClient, wanted: Wanted): Promise<string> => {
  const id = (await findMade(client, wanted)) ?? (await make(client, wanted))
  const made = await inspectContainer(client, id)
  await checkVolume(client, made, wanted)
  await joinNetworks(client, made, wanted.spec)
  return id
}

const findMade = async (client: DockerClient, { name, moveId }: Wanted): Promise<string | null> => {
  const found = await findContainer(client, name)
  if (found === null) return null
  if (found.labels[moveLabel] === moveId) return found.id
  throw new DroverError(
    'DOCKER_FAILED',
    `container ${name} cannot be made: another container (${found.id.slice(0, 12)}) has that name; rename or remove it`,
    { details: { status: 409 } },
  )
}

const make = async (client: DockerClient, wanted: Wanted): Promise<string> => {
  const { spec, name, moveId, dropMounts } = wanted
  for (const volume of movedVolumes(spec)) await registerVolume(client, volume)
  const image = await imageNameHere(client, spec.imageId, spec.imageName)
  const body = createBody(spec, { image, moveId, dropMounts })
  try {
    return await client.call(`create container ${name}`, endMs, async (docker, abortSignal) => {
      const options: object = { _query: { name }, _body: body, abortSignal }
      return (await docker.createContainer(options)).id
    })
  } catch (error) {
    // The engine may have made it for an earlier call whose answer was lost.
    if (refusalStatus(error) !== 409) throw error
    const made = await findMade(client, wanted)
    if (made === null) throw error
    return made
  }
}

/**
 * Binds the name to our driver in this engine: a bind such as `db:/data` names no driver, and an engine that does not
 * know the volume would make an empty local one in its place.
 */
const registerVolume = async (client: DockerClient, name: string): Promise<void> => {
  const volume = await client.call(`look up volume ${name}`, endMs, async (docker, abortSignal) => {
    const registered = await docker.createVolume({ Name: name, Driver: droverDriver, abortSignal })
    return registered.inspect({ abortSignal })
  })
  if (!isDroverDriver(volume.Driver)) throw foreignVolume(name, volume.Driver)
}

const foreignVolume = (name: string, driver: string): DroverError =>
  new DroverError(
    'DOCKER_FAILED',
    `volume ${name} belongs to driver ${driver} in this engine, not to drover; remove it with "docker volume rm ${name}" if its data is not needed`,
  )

/** A container that would write anywhere but on the moved volume must not exist. */
const checkVolume = async (client: DockerClient, made: WireContainer, { spec, name }: Wanted): Promise<void> => {
  const missing = movedVolumes(spec).find((volume) => !(made.Mounts ?? []).some((mount) => isMountOf(mount, volume)))
  if (missing === undefined) return
  await removeContainer(client, made.Id)
  const instead = made.Mounts?.find((mount) => mount.Name === missing)
  if (instead !== undefined) throw foreignVolume(missing, instead.Driver ?? 'unknown')
  throw new DroverError(
    'DOCKER_FAILED',
    `container ${name} was made without volume ${missing} and was removed again; use --containers stop`,
  )
}

/** Engines before API 1.44 take one network at create. */
const joinNetworks = async (client: DockerClient, made: WireContainer, spec: ContainerSpec): Promise<void> => {
  const joined = Object.keys(made.NetworkSettings.Networks ?? {})
  for (const [network, endpoint] of Object.entries(spec.extraNetworks)) {
    if (joined.includes(network)) continue
    await client.call(`connect container ${spec.name} to network ${network}`, quickMs, (docker, abortSignal) => {
      const options: object = { Container: made.Id, EndpointConfig: endpoint ?? {}, abortSignal }
      return docker.getNetwork(network).connect(options)
    })
  }
}
