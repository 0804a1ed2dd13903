import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { specFromInspect } from '../../../src/containers/capture.ts'
import { createBody } from '../../../src/containers/create-body.ts'
import type { ContainerSpec } from '../../../src/containers/runtime.ts'
import type { WireContainer, WireCreate } from '../../../src/containers/wire.ts'
import { moveId } from '../../../src/domain/ids.ts'

/** As engine 20.10 told them of real containers. */
const recorded = async (name: string): Promise<WireContainer> =>
  JSON.parse(await readFile(new URL(`inspects/${name}.json`, import.meta.url), 'utf8')) as WireContainer

const captured = async (name: string, volume = 'db'): Promise<ContainerSpec> =>
  specFromInspect(await recorded(name), [volume], 'host1')

const move = moveId('01bx5zzkbkactav9wevgemmvs0')
const bodyOf = (spec: ContainerSpec, dropMounts: string[] = []): WireCreate =>
  createBody(spec, { image: 'busybox:test', moveId: move, dropMounts })

describe('capture', () => {
  test('tells what a move must know of a container', async () => {
    const spec = await captured('rich')
    expect(spec).toMatchObject({
      name: 'rich',
      volumeName: 'db',
      imageName: 'busybox:test',
      imageId: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      wasRunning: true,
      wasPaused: false,
      stopTimeoutS: 3,
      hasHealthCheck: true,
      autoRemove: false,
      restartPolicy: { name: 'on-failure', maximumRetryCount: 3 },
      hostPorts: [{ ip: '127.0.0.1', port: 15432, protocol: 'tcp' }],
      networks: ['backend', 'front'],
      bindMounts: [{ source: '/etc', target: '/conf' }],
      otherVolumes: [],
      swarmService: null,
    })
  })

  test('carries what the user set', async () => {
    const recordedRich = await recorded('rich')
    const { create, extraNetworks } = await captured('rich')
    const carried = create as unknown as WireCreate
    for (const field of ['Hostname', 'Domainname', 'User', 'Env', 'Cmd', 'WorkingDir', 'ExposedPorts', 'Healthcheck']) {
      expect(carried[field]).toEqual(recordedRich.Config[field])
    }
    for (const field of ['StopSignal', 'StopTimeout']) expect(carried[field]).toEqual(recordedRich.Config[field])
    const { NetworkMode, Links, Mounts, RestartPolicy, ...rest } = recordedRich.HostConfig
    expect(carried.HostConfig).toMatchObject(rest)
    expect(rest).toMatchObject({ Memory: 67108864, NanoCpus: 500000000, ShmSize: 16777216, Init: true })
    expect(carried.NetworkingConfig?.EndpointsConfig).toEqual({
      backend: { IPAMConfig: { IPv4Address: '10.77.0.9' }, Aliases: ['pg'] },
    })
    expect(extraNetworks).toEqual({ front: { Aliases: ['second'] } })
    expect([NetworkMode, Links, Mounts?.length, RestartPolicy?.Name]).toEqual(['backend', null, 1, 'on-failure'])
  })

  test('drops what the engine filled in and what an earlier move left', async () => {
    const plain = (await captured('plain')).create as unknown as WireCreate
    expect(plain.Hostname).toBe('')
    expect(plain.NetworkingConfig).toBeUndefined()
    expect(plain.HostConfig.Links).toEqual(['other:oth'])
    expect(((await captured('rich')).create as unknown as WireCreate).Labels).toEqual({ x: 'y' })
    expect(((await captured('hostnet')).create as unknown as WireCreate).Hostname).toBe('')
  })

  test('says by [""] that there is no entry point, so that the image cannot bring one', async () => {
    expect(((await captured('plain')).create as unknown as WireCreate).Entrypoint).toEqual([''])
  })

  test('knows --rm, other volumes and a random port', async () => {
    const plain = await captured('plain')
    expect(plain.autoRemove).toBe(true)
    expect(plain.restartPolicy.name).toBe('no')
    expect(plain.hasHealthCheck).toBe(false)
    expect(plain.otherVolumes.map(({ target, driver }) => [target, driver]).sort()).toEqual([
      ['/anon', 'local'],
      ['/l', 'local'],
    ])
  })

  test('names an anonymous volume, which would come out new and empty otherwise', async () => {
    const inspected = await recorded('anon')
    const name = inspected.Mounts?.[0]?.Name ?? ''
    const spec = specFromInspect(inspected, [name], 'host1')
    expect(spec.otherVolumes).toEqual([])
    expect(bodyOf(spec).HostConfig.Mounts).toEqual([
      {
        Type: 'volume',
        Source: name,
        Target: '/data',
        ReadOnly: false,
        VolumeOptions: { DriverConfig: { Name: 'drover' }, NoCopy: true },
      },
    ])
  })

  test('translates a network mode given as an id, and leaves a network it was taken off', () => {
    const base = { Id: 'a'.repeat(64), Name: '/c', Image: 'sha256:x', Config: {}, HostConfig: {} } as const
    const State = { Status: 'exited', Running: false } as WireContainer['State']
    const on = (mode: string, networks: Record<string, { NetworkID: string }>): ContainerSpec =>
      specFromInspect(
        { ...base, State, HostConfig: { NetworkMode: mode }, NetworkSettings: { Networks: networks } },
        ['db'],
        'h',
      )
    const mode = (spec: ContainerSpec) => (spec.create as unknown as WireCreate).HostConfig.NetworkMode
    const id = 'f'.repeat(64)
    expect(mode(on(id, { backend: { NetworkID: id } }))).toBe('backend')
    const left = on('default', { backend: { NetworkID: id } })
    expect(mode(left)).toBe('backend')
    expect(left.extraNetworks).toEqual({})
    const both = on('backend', { bridge: { NetworkID: 'b' }, backend: { NetworkID: id } })
    expect(both.extraNetworks).toEqual({ bridge: {} })
    expect(both.networks).toEqual(['backend'])
  })
})

describe('create body', () => {
  test('cannot start by itself, carries the move and takes the volume without copy-up', async () => {
    const body = bodyOf(await captured('rich'))
    expect(body.HostConfig.RestartPolicy).toEqual({ Name: 'no', MaximumRetryCount: 0 })
    expect(body.Labels).toEqual({ x: 'y', 'drover.move': move })
    expect(body.HostConfig.Binds).toEqual(['db:/data:nocopy', '/etc:/conf:ro'])
    expect(body.HostConfig.Mounts).toEqual([
      {
        Type: 'volume',
        Source: 'db',
        Target: '/again',
        ReadOnly: true,
        VolumeOptions: { DriverConfig: { Name: 'drover' }, NoCopy: true },
      },
    ])
    expect(body.Image).toBe('busybox:test')
  })

  test('survives a second move and keeps bind modes', async () => {
    const spec = await captured('plain')
    const host = (spec.create as unknown as WireCreate).HostConfig
    const withModes = { ...spec, create: { ...spec.create, HostConfig: { ...host, Binds: ['db:/data:ro,nocopy,z'] } } }
    expect(bodyOf(withModes).HostConfig.Binds).toEqual(['db:/data:ro,z,nocopy'])
  })

  test('leaves dropped mounts behind, written with or without a slash at the end', async () => {
    const body = bodyOf(await captured('plain'), ['/anon/', '/l'])
    expect(body.Volumes).toEqual({})
    expect(body.HostConfig.Binds).toEqual(['db:/data:nocopy'])
    expect(body.HostConfig.AutoRemove).toBe(true)
  })

  test('is plain JSON', async () => {
    const spec = await captured('rich')
    expect(bodyOf(JSON.parse(JSON.stringify(spec)) as ContainerSpec)).toEqual(bodyOf(spec))
  })
})
