import { DroverError } from '../../../domain/errors.ts'
import type { LogicalVolume } from './lvm-command.ts'
import type { ThinPool } from './names.ts'

/** @throws BAD_CONFIG, with what to do in one line */
export const checkPool = ({ spec, group, pool }: ThinPool, found: LogicalVolume | null): LogicalVolume => {
  const problem = (text: string) => new DroverError('BAD_CONFIG', `pool ${spec} ${text}`)
  if (found === null) {
    throw problem(`does not exist; make it: lvcreate --type thin-pool -L SIZE -n ${pool} ${group}`)
  }
  if (found.segmentType !== 'thin-pool') throw problem(`is a ${found.segmentType} volume, and no thin pool`)
  if (!found.isActive) throw problem(`is not active; run: lvchange -ay ${group}/${pool}`)
  if (found.whenFull !== 'error') {
    throw problem(`keeps writers waiting when it is full; run: lvchange --errorwhenfull y ${group}/${pool}`)
  }
  if (found.zero !== 'zero') {
    throw problem(`shows what others have deleted in new volumes; run: lvchange --zero y ${group}/${pool}`)
  }
  return found
}
