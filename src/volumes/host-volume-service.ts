import { DroverError, hasCode } from '../domain/errors.ts'
import { ownMounts } from '../lib/mountinfo.ts'
import type { RunningCommands } from '../lib/running-commands.ts'
import type { CatalogEntry } from './catalog.ts'
import type { ControlPort, MoveStatus } from './control-port.ts'
import { fits, parseCreateOptions } from './create-options.ts'
import { copiesToMount } from './dark-pools.ts'
import type { FirstMount } from './first-mount.ts'
import type { VolumeHost } from './host.ts'
import { dataPath, mountOwned, unmountOwned } from './mounting.ts'
import type { KnownVolume, VolumeService } from './volume-service.ts'

/** Docker gives a Mount two minutes; we answer before it gives up, for after its time-out no Unmount follows. */
const mountPatienceMs = 100_000
const pollMs = 100

/** Docker's volumes, on this host. Get and List make no network call. */
export const createHostVolumeService = (
  host: VolumeHost,
  firstMount: FirstMount,
  control: ControlPort,
  running: Pick<RunningCommands, 'about'>,
): VolumeService => {
  /** Moves to this host that a Mount waits for, by the volume's name. */
  const pulls = new Map<string, string>()

  const view = (entry: CatalogEntry, mounted: ReadonlySet<string>): KnownVolume => ({
    id: entry.id,
    name: entry.name,
    createdAt: entry.createdAt,
    labels: entry.labels,
    ownerHost: entry.ownerHost,
    ownedHere: entry.ownerHostId === host.identity.hostId,
    mountpoint: mounted.has(host.mountPath(entry.id)) ? dataPath(host, entry.id) : '',
    sizeBytes: entry.sizeBytes,
  })

  const mountedPaths = async (): Promise<Set<string>> =>
    new Set((await ownMounts()).map(({ mountPoint }) => mountPoint))

  const mustKnow = (name: string): CatalogEntry => {
    const entry = host.catalog.byName(name)
    if (entry !== undefined) return entry
    throw new DroverError(
      'NO_SUCH_VOLUME',
      `volume ${name} does not exist; docker volume create -d drover ${name} makes it`,
    )
  }

  const mustBeTold = (): void => {
    if (host.catalog.known) return
    throw new DroverError(
      'CONTROL_UNREACHABLE',
      `host ${host.identity.hostName} has not got the table of volumes yet; see that the control role runs`,
    )
  }

  const ownsNow = async (entry: CatalogEntry): Promise<boolean> => {
    const [held] = await copiesToMount(host, entry.id)
    if (held === undefined) return false
    const { role, moveId } = held.record
    // Sealed or released here: mountOwned says so, a pull would only fight the move.
    return role === 'owner' || (moveId !== null && (role === 'sealed' || role === 'released'))
  }

  const pull = async (entry: CatalogEntry): Promise<void> => {
    const deadline = host.clock.monotonic() + mountPatienceMs
    let move = await beginPull(entry)
    while (move.state !== 'done' && !(move.state === 'active' && (await ownsNow(entry)))) {
      if (move.state === 'aborted') {
        throw new DroverError(
          'MOVE_FAILED',
          `volume ${entry.name} could not be moved here from host ${entry.ownerHost}: ${move.error ?? 'the move was undone'}`,
        )
      }
      if (host.clock.monotonic() > deadline) {
        throw new DroverError(
          'TIMED_OUT',
          `volume ${entry.name} is being moved here from host ${entry.ownerHost} (move ${move.id}, phase ${move.phase}); it goes on, start the container again when vol move-status ${move.id} says done`,
        )
      }
      pulls.set(entry.name, `move ${move.id} from host ${entry.ownerHost} (phase ${move.phase})`)
      await host.clock.sleep(pollMs)
      move = await control.move(move.id)
    }
  }

  const beginPull = async (entry: CatalogEntry): Promise<MoveStatus> => {
    try {
      return await control.moveHere(entry.name)
    } catch (error) {
      if (!hasCode(error, 'MOVE_UNDER_WAY')) throw error
      const open = await control.openMove(entry.name)
      if (open === null || open.to !== host.identity.hostName) throw error
      return open
    }
  }

  return {
    async get(name) {
      mustBeTold()
      const entry = host.catalog.byName(name)
      return entry === undefined ? null : view(entry, await mountedPaths())
    },

    async list() {
      mustBeTold()
      const mounted = await mountedPaths()
      return host.catalog.entries().map((entry) => view(entry, mounted))
    },

    async create(name, options) {
      const wanted = parseCreateOptions(options)
      const existing = host.catalog.byName(name)
      if (existing !== undefined) {
        if (fits(wanted, existing.options)) return
        throw conflict(name)
      }
      try {
        await control.createVolume({ name, ...wanted })
      } catch (error) {
        if (!hasCode(error, 'VOLUME_EXISTS')) throw error
        if (!fits(wanted, (error.details.options ?? {}) as Record<string, string>)) throw conflict(name)
      }
    },

    async remove(name) {
      mustKnow(name)
      await control.removeVolume(name)
    },

    async mount(name, callerId) {
      const entry = mustKnow(name)
      if (!(await ownsNow(entry))) await pull(entry).finally(() => pulls.delete(name))
      return mountOwned(host, firstMount, entry.id, callerId)
    },

    goingOn(name) {
      const entry = host.catalog.byName(name)
      const pulled = pulls.get(name)
      if (pulled !== undefined) return `waits for ${pulled}`
      if (entry === undefined) return null
      const command = running.about(entry.id)
      if (command !== null) return `waits for ${command}`
      const putOff = host.putOff.of(entry.id)
      return putOff === null ? null : `waits: ${putOff.waitsFor}`
    },

    async unmount(name, callerId) {
      await unmountOwned(host, mustKnow(name).id, callerId)
    },
  }
}

const conflict = (name: string): DroverError =>
  new DroverError(
    'VOLUME_EXISTS',
    `volume ${name} exists with other options; use it without options, or choose another name`,
  )
