import { DroverError } from '../../src/domain/errors.ts'
import { volumeId } from '../../src/domain/ids.ts'
import { parseSize } from '../../src/domain/units.ts'
import type { KnownVolume, VolumeService } from '../../src/volumes/volume-service.ts'

interface Held {
  readonly volume: KnownVolume
  readonly options: Readonly<Record<string, string>>
}

/**
 * The contract of VolumeService, kept in memory: names are taken once, the same create again is a success, a mounted volume
 * is not removed. `block` holds every later call back until the returned function is called; `fail` makes calls fail.
 */
export class MemoryVolumeService implements VolumeService {
  readonly held = new Map<string, Held>()
  readonly log: string[] = []
  failure: Error | null = null
  private gate: Promise<void> = Promise.resolve()
  private next = 0

  block(): () => void {
    let open = () => {}
    this.gate = new Promise((resolve) => {
      open = resolve
    })
    return open
  }

  async get(name: string): Promise<KnownVolume | null> {
    await this.enter(`get ${name}`)
    return this.held.get(name)?.volume ?? null
  }

  async list(): Promise<KnownVolume[]> {
    await this.enter('list')
    return [...this.held.values()].map((held) => held.volume)
  }

  async create(name: string, options: Readonly<Record<string, string>>): Promise<void> {
    await this.enter(`create ${name}`)
    for (const option of Object.keys(options)) {
      if (!['size', 'pool'].includes(option)) throw new DroverError('UNKNOWN_OPTION', `there is no option ${option}`)
    }
    const sizeBytes = options.size === undefined ? null : parseSize(options.size)
    const there = this.held.get(name)
    if (there !== undefined) {
      if (JSON.stringify(there.options) === JSON.stringify(options)) return
      throw new DroverError('VOLUME_EXISTS', `volume ${name} exists with other options`)
    }
    const id = volumeId(`01j${String(this.next++).padStart(23, '0')}`)
    const createdAt = '2026-11-23T20:00:00.000Z'
    const volume = { id, name, createdAt, labels: {}, ownerHost: 'host1', ownedHere: true, mountpoint: '', sizeBytes }
    this.held.set(name, { volume, options })
  }

  async remove(name: string): Promise<void> {
    await this.enter(`remove ${name}`)
    const held = this.demand(name)
    if (held.volume.mountpoint !== '') throw new DroverError('VOLUME_IN_USE', `volume ${name} is mounted`)
    this.held.delete(name)
  }

  async mount(name: string, callerId: string): Promise<string> {
    await this.enter(`mount ${name} ${callerId}`)
    const held = this.demand(name)
    const mountpoint = `/mnt/${held.volume.id}/data`
    this.held.set(name, { ...held, volume: { ...held.volume, mountpoint } })
    return mountpoint
  }

  async unmount(name: string, callerId: string): Promise<void> {
    await this.enter(`unmount ${name} ${callerId}`)
    const held = this.demand(name)
    this.held.set(name, { ...held, volume: { ...held.volume, mountpoint: '' } })
  }

  goingOn(name: string): string | null {
    return this.held.has(name) ? "waits for 'btrfs subvolume show' (pid 4711) since 61 s" : null
  }

  private async enter(what: string): Promise<void> {
    this.log.push(what)
    await this.gate
    if (this.failure !== null) throw this.failure
  }

  private demand(name: string): Held {
    const held = this.held.get(name)
    if (held === undefined) throw new DroverError('NO_SUCH_VOLUME', `there is no volume ${name}`)
    return held
  }
}
