import type { VolumeId } from '../domain/ids.ts'

/** A name as this host knows it, from its own datasets and from the table that the control role pushes. */
export interface KnownVolume {
  readonly id: VolumeId
  readonly name: string
  readonly createdAt: string
  readonly labels: Readonly<Record<string, string>>
  /** Host that owns it, by name; null when unknown. */
  readonly ownerHost: string | null
  readonly ownedHere: boolean
  /** Where it is mounted here; empty when it is not mounted. */
  readonly mountpoint: string
  readonly sizeBytes: number | null
}

/**
 * What the Docker plugin needs of one host. Get and List make no network call. Errors are DroverErrors whose message is one
 * line for the person who typed `docker run`.
 */
export interface VolumeService {
  /** Null: surely no such volume. @throws when the truth is not known: the plugin then drops the connection. */
  get(name: string): Promise<KnownVolume | null>
  list(): Promise<KnownVolume[]>
  /** Same name and options again: success, data left alone. @throws VOLUME_EXISTS, BAD_SIZE, UNKNOWN_OPTION, NO_SUCH_POOL, CONTROL_UNREACHABLE */
  create(name: string, options: Readonly<Record<string, string>>): Promise<void>
  /** @throws NO_SUCH_VOLUME, VOLUME_IN_USE */
  remove(name: string): Promise<void>
  /**
   * The path for the container: `<data-dir>/mnt/<id>/data`. Moves an idle volume here first, within the time limit.
   * @throws VOLUME_SEALED, VOLUME_IN_USE (names host and container), TIMED_OUT (the move goes on)
   */
  mount(name: string, callerId: string): Promise<string>
  /** What a call for this volume that takes long is waiting for now, in words; null when that is not known. Never waits itself. */
  goingOn(name: string): string | null
  /** Unmounts when nothing uses it any more by /proc's word; never fails because it is still in use. */
  unmount(name: string, callerId: string): Promise<void>
}
