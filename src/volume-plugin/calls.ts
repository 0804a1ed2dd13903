import { DroverError } from '../domain/errors.ts'
import type { KnownVolume, VolumeService } from '../volumes/volume-service.ts'
import { type Answer, callerOf, type Fields, nameOf, optionsOf, type WireVolume } from './wire.ts'

/** How long, in milliseconds, each kind of call may take before it is answered with what is going on. */
export interface PluginLimits {
  /** Get, List, Path: local knowledge. podman waits 5 s for anything. */
  readonly lookupMs: number
  /** Remove and Unmount: engines wait 1 min. */
  readonly changeMs: number
  /** Create: engines wait 2 min. */
  readonly createMs: number
  /** Mount: engines wait 2 min; the volume service has a limit of its own, this one stands behind it. */
  readonly mountMs: number
  /** Any call of podman, which waits 5 s for each. */
  readonly briefMs: number
}

export const defaultLimits: PluginLimits = {
  lookupMs: 4_000,
  changeMs: 50_000,
  createMs: 100_000,
  mountMs: 110_000,
  briefMs: 4_500,
}

export interface Call {
  readonly limit: Exclude<keyof PluginLimits, 'briefMs'>
  /** The same call while one is under way waits for that one, and no second is begun. */
  readonly joins?: true
  /** The body is not even looked at. */
  readonly bodyless?: true
  /** Any answer is an answer about the volume: when the truth is not known, the connection is dropped instead. */
  readonly dropWhenUnknown?: true
  run(service: VolumeService, fields: Fields): Promise<Answer>
  /** It came to its end after the engine had been told otherwise, or had gone: put right what nobody will ask to. */
  abandoned?(service: VolumeService, fields: Fields): Promise<void>
}

export const calls: Readonly<Record<string, Call>> = {
  '/Plugin.Activate': {
    limit: 'lookupMs',
    bodyless: true,
    run: async () => ({ Implements: ['VolumeDriver'] }),
  },
  '/VolumeDriver.Capabilities': {
    limit: 'lookupMs',
    bodyless: true,
    run: async () => ({ Capabilities: { Scope: 'global' } }),
  },
  '/VolumeDriver.List': {
    limit: 'lookupMs',
    bodyless: true,
    run: async (service) => ({ Volumes: (await service.list()).map(wireVolume) }),
  },
  '/VolumeDriver.Get': {
    limit: 'lookupMs',
    dropWhenUnknown: true,
    run: async (service, fields) => {
      const volume = await known(service, nameOf(fields))
      return { Volume: { ...wireVolume(volume), Status: statusOf(volume) } }
    },
  },
  '/VolumeDriver.Path': {
    limit: 'lookupMs',
    run: async (service, fields) => ({ Mountpoint: (await known(service, nameOf(fields))).mountpoint }),
  },
  '/VolumeDriver.Create': {
    limit: 'createMs',
    joins: true,
    run: async (service, fields) => {
      await service.create(nameOf(fields), optionsOf(fields))
      return {}
    },
  },
  '/VolumeDriver.Remove': {
    limit: 'changeMs',
    joins: true,
    run: async (service, fields) => {
      await service.remove(nameOf(fields))
      return {}
    },
  },
  '/VolumeDriver.Mount': {
    limit: 'mountMs',
    joins: true,
    run: async (service, fields) => {
      const name = nameOf(fields)
      const mountpoint = await service.mount(name, callerOf(fields))
      // Engines take an empty path for a good one, and give the container a directory of their own.
      if (mountpoint === '')
        throw new DroverError('INTERNAL', `volume ${name} was mounted nowhere; see the log of vold`)
      return { Mountpoint: mountpoint }
    },
    // After a Mount that timed out no engine sends Unmount.
    abandoned: (service, fields) => service.unmount(nameOf(fields), callerOf(fields)),
  },
  '/VolumeDriver.Unmount': {
    limit: 'changeMs',
    joins: true,
    run: async (service, fields) => {
      await service.unmount(nameOf(fields), callerOf(fields))
      return {}
    },
  },
}

const known = async (service: VolumeService, name: string): Promise<KnownVolume> => {
  const volume = await service.get(name)
  if (volume === null) {
    throw new DroverError('NO_SUCH_VOLUME', `there is no volume ${name}; see vol ls for those there are`)
  }
  return volume
}

const wireVolume = (volume: KnownVolume): WireVolume => ({
  Name: volume.name,
  Mountpoint: volume.mountpoint,
  CreatedAt: new Date(volume.createdAt).toISOString(),
})

const statusOf = (volume: KnownVolume): NonNullable<WireVolume['Status']> => ({
  id: volume.id,
  owner: volume.ownerHost,
  ownedHere: volume.ownedHere,
  sizeBytes: volume.sizeBytes,
  labels: volume.labels,
})
