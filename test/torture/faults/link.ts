import type { LabHost } from '../../../lab/host.ts'
import type { Phase } from '../../../src/domain/move.ts'
import { everywhere, type Fault, type Scene } from '../fault.ts'

/** Where the cable is pulled: at one host, or the two hosts of the move hear each other no more, and control hears both. */
const places = ['source', 'target', 'control', 'between'] as const
type Place = (typeof places)[number]

const drop = (host: LabHost, other: LabHost, how: '-I' | '-D') =>
  Promise.all([
    host.exec(['iptables', '-w', how, 'INPUT', '-s', other.address, '-j', 'DROP']),
    host.exec(['iptables', '-w', how, 'OUTPUT', '-d', other.address, '-j', 'DROP']),
  ])

const cut = ({ source, target, ...scene }: Scene, place: Place) =>
  place === 'between' ? drop(source, target, '-I') : { source, target, ...scene }[place].cut()

const heal = ({ source, target, ...scene }: Scene, place: Place) =>
  place === 'between' ? drop(source, target, '-D') : { source, target, ...scene }[place].heal()

const says: Readonly<Record<Place, string>> = {
  source: 'the source host is cut off from all others',
  target: 'the target host is cut off from all others',
  control: 'the control host is cut off from all others',
  between: 'source and target are cut off from each other, control hears both',
}

/** Released, and out of reach of whoever could give it back; committed to a host out of reach, or not told to start its containers. */
const residue: Readonly<Record<Place, readonly Phase[]>> = {
  source: ['verify', 'release', 'commit'],
  target: ['release', 'commit', 'activate'],
  control: ['commit', 'activate'],
  between: [],
}

const pulled = (place: Place, forGood: boolean): Fault => ({
  name: `${place}-${forGood ? 'gone' : 'cut'}`,
  says: `${says[place]}, ${forGood ? 'for good' : 'for a while'}`,
  notIn: everywhere,
  strike: async (scene) => {
    await cut(scene, place)
    return true
  },
  mend: async (scene) => {
    await heal(scene, place)
  },
  mended: forGood ? 'settled' : 'soon',
  noWriterIn: forGood ? residue[place] : [],
})

export const linkFaults = places.flatMap((place) => [pulled(place, false), pulled(place, true)])
