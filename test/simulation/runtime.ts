import type { ContainerRuntime, ContainerSpec, ContainerUse } from '../../src/containers/runtime.ts'
import { DroverError } from '../../src/domain/errors.ts'
import type { Container, Engine } from './engine.ts'
import type { SimProcess } from './process.ts'

const moveLabel = 'drover.move'
const startingPolicies = ['always', 'unless-stopped', 'on-failure']

const unreachable = (): DroverError => new DroverError('DOCKER_UNREACHABLE', 'the engine does not answer')

/** One `vold`'s view of the engine, with the same answers as the real client's. */
export const simRuntime = (process: SimProcess, engine: Engine): ContainerRuntime => {
  const { loop } = process

  const look = <T>(effect: () => T): Promise<T> =>
    process.look(() => {
      if (!engine.up) throw unreachable()
      return effect()
    })

  /** A call that the engine finishes also when nobody waits for it. */
  const ask = <T>(what: string, work: () => Promise<T>, mayFail = true): Promise<T> =>
    process.ask(
      `engine.${what}`,
      async () => {
        await loop.wait(1 + process.random.next() * 8)
        if (!engine.up) throw unreachable()
        return work()
      },
      mayFail,
    )

  const quietIfGone = async (id: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (engine.containers.has(id)) throw error
    }
  }

  const runs = (container: Container | undefined): boolean =>
    container !== undefined && (container.state === 'running' || container.state === 'paused')

  const assertEnded = (id: string): void => {
    const container = engine.containers.get(id)
    if (runs(container)) {
      throw new DroverError('DOCKER_FAILED', `container ${container?.name} was stopped and runs again`)
    }
  }

  const runtime: ContainerRuntime = {
    ping: () => look(() => ({ version: 'simulated' })),
    usersOf: (volumeName) => look(() => engine.usersOf(volumeName).map(useOf)),
    names: () => look(() => new Map([...engine.containers.values()].map(({ id, name }) => [id, name]))),
    allUsers: () =>
      look(() => {
        const all = new Map<string, ContainerUse[]>()
        for (const container of engine.containers.values()) {
          all.set(container.volumeName, [...(all.get(container.volumeName) ?? []), useOf(container)])
        }
        return all
      }),
    capture: (id) =>
      look(() => {
        const container = engine.containers.get(id)
        if (container === undefined) throw new DroverError('DOCKER_FAILED', `no container ${id}`)
        return specOf(container, container.volumeName)
      }),
    checkCarry: (specs, _dropMounts, moveId) =>
      look(() =>
        specs.flatMap((spec) => {
          const there = engine.find(spec.name)
          if (there === null || (moveId !== undefined && there.labels[moveLabel] === moveId)) return []
          return [{ container: spec.name, what: 'its name is taken', wayOut: 'rename it' }]
        }),
      ),
    disarm: (id) => ask('disarm', async () => engine.update(id, { name: 'no', maximumRetryCount: 0 })),
    rearm: (id, policy) => ask('rearm', async () => engine.update(id, policy)),
    stop: (id, timeoutS) =>
      ask('stop', () =>
        quietIfGone(id, async () => {
          await engine.stop(id, timeoutS)
          assertEnded(id)
        }),
      ),
    pause: (id) => ask('pause', () => engine.pause(id)),
    unpause: (id) => ask('unpause', () => quietIfGone(id, () => engine.unpause(id))),
    killFrozen: (id) =>
      ask('kill', () =>
        quietIfGone(id, async () => {
          if (!runs(engine.containers.get(id))) return
          await engine.pause(id)
          await engine.kill(id)
          assertEnded(id)
        }),
      ),
    start: (id) => ask('start', () => engine.start(id), false),
    find: (name) =>
      look(() => {
        const found = engine.find(name)
        return found === null ? null : { id: found.id, state: found.state, labels: found.labels }
      }),
    create: (spec, name, moveId) =>
      ask('create', async () => {
        const there = engine.find(name)
        if (there !== null && there.labels[moveLabel] === moveId) return there.id
        const { volumeName, imageId, autoRemove, stopTimeoutS } = spec
        const policy = { name: 'no', maximumRetryCount: 0 }
        const labels = { [moveLabel]: moveId }
        return engine.create({ name, volumeName, image: imageId, autoRemove, labels, stopTimeoutS, policy }).id
      }),
    rename: (id, name) => ask('rename', async () => engine.rename(id, name)),
    remove: (id) => ask('remove', async () => engine.remove(id)),
    madeByMoves: () =>
      look(() =>
        [...engine.containers.values()]
          .filter(({ labels }) => labels[moveLabel] !== undefined)
          .map(({ id, name, labels, state }) => ({
            id,
            name,
            moveId: labels[moveLabel] ?? '',
            neverStarted: state === 'created',
          })),
      ),
    hasImage: (imageId) => look(() => engine.images.has(imageId)),
    // The bytes of an image are of no interest here: the network carries its name.
    saveImage: () => look(() => ({}) as unknown as NodeJS.ReadableStream),
    loadImage: (_, imageId) => ask('loadImage', async () => void engine.images.add(imageId)),
    awaitHealthy: async (id, timeoutMs, signal) => {
      const clock = process.clock(() => 0)
      const until = clock.monotonic() + timeoutMs
      let since = { startedAt: -1, at: 0 }
      for (;;) {
        const container = await look(() => engine.containers.get(id))
        const now = clock.monotonic()
        if (container === undefined) return 'it ended and was removed (--rm)'
        if (container.state === 'exited' && container.policy.name === 'no') return 'it ended'
        if (!runs(container)) since = { startedAt: -1, at: now }
        else if (since.startedAt !== container.startedAt) since = { startedAt: container.startedAt, at: now }
        if (since.startedAt >= 0 && now - since.at >= 2_000) return engine.isSick ? 'it is unhealthy' : null
        if (now >= until) return 'it did not run for 2 s'
        await clock.sleep(250, signal)
      }
    },
  }
  return runtime
}

const useOf = (container: Container): ContainerUse => ({
  id: container.id,
  name: container.name,
  image: container.image,
  state: container.state,
  pid: container.pid,
  startsByItself: startingPolicies.includes(container.policy.name),
  mountPath: '/data',
})

const specOf = (container: Container, volumeName: string): ContainerSpec => ({
  name: container.name,
  id: container.id,
  volumeName,
  imageId: container.image,
  imageName: container.image,
  wasRunning: container.state === 'running' || container.state === 'paused',
  wasPaused: container.state === 'paused',
  stopTimeoutS: container.stopTimeoutS,
  hasHealthCheck: false,
  autoRemove: container.autoRemove,
  restartPolicy: container.policy,
  hostPorts: [],
  networks: [],
  bindMounts: [],
  otherVolumes: [],
  swarmService: null,
  create: {},
  extraNetworks: {},
})
