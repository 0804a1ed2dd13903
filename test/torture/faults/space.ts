import { everywhere, type Fault } from '../fault.ts'
import { pool } from '../stage.ts'

const leftMib = 160

/** Takes what is free but for so much, at once: nothing is written, the room is only reserved. */
const fill = (leaveMib: number): string =>
  `cd ${pool}; free=$(( $(stat -f -c '%a * %S' .) / 1048576 - ${leaveMib} )); i=$(ls -d foreign.* 2>/dev/null | wc -l)
for part in $free 256 64 16 4 1; do while [ $part -gt 0 ] && fallocate -l \${part}M foreign.$i 2>/dev/null; do i=$((i+1)); [ $part = $free ] && break; [ ${leaveMib} -gt 0 ] && exit 0; done; rm -f foreign.$i; done`

export const spaceFaults: readonly Fault[] = [
  {
    name: 'target-full',
    says: "somebody takes all room of the target's pool, and gives it back when the move has settled",
    notIn: everywhere,
    // Most of it beforehand, so that the rest goes at once.
    prepare: async ({ target, afterwards }) => {
      afterwards.push(() => target.exec(['sh', '-c', `rm -f ${pool}/foreign.*; btrfs filesystem sync ${pool}`]))
      await target.exec(['sh', '-c', fill(leftMib)])
    },
    strike: async ({ target }) => {
      await target.exec(['sh', '-c', fill(0)])
      return true
    },
    mend: async ({ target }) => {
      await target.exec(['sh', '-c', `rm -f ${pool}/foreign.*; btrfs filesystem sync ${pool}`])
    },
    mended: 'settled',
    // A writer on a full pool writes nothing, wherever it is.
    noWriterIn: ['plan', 'precopy', 'quiesce', 'delta', 'verify', 'release', 'commit', 'activate', 'retire'],
  },
]
