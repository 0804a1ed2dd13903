import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { systemClock } from '../../lib/clock.ts'
import type { TlsIdentity } from '../transfer.ts'
import { awaitGo } from './connect.ts'
import { receiveSecurely } from './receive.ts'
import { hostOf, secureAsSender } from './secure.ts'
import { sendSecurely } from './send.ts'

const rehearsedBytes = 4 * 2 ** 20

/**
 * A transfer from this process to itself, of zeros to nowhere. An incremental round is over in a tenth of a second, of which a third went
 * into loading and compiling what is used for the first time; a process that waits anyway does that ahead.
 */
export const rehearse = async (identity: TlsIdentity): Promise<void> => {
  const { near, far } = await socketPair()
  const peerHostId = hostOf(identity)
  const common = { sessionId: 'rehearsal', peerHostId, plain: false }
  const task = { identity, clock: systemClock, aborted: new Promise<never>(() => {}), progress: () => {} }
  await Promise.all([
    receiveSecurely({ ...common, argv: ['cat'] }, { onEach: (take) => take(far) }, task),
    sendSecurely(
      { ...common, argv: ['head', '-c', String(rehearsedBytes), '/dev/zero'], address: 'nowhere', bwlimitBytes: null },
      task,
      async () => {
        await awaitGo(near, 'nowhere')
        return secureAsSender(near, identity, peerHostId)
      },
    ),
  ])
}

const socketPair = async (): Promise<{ near: Socket; far: Socket }> => {
  const path = `\0drover-rehearsal-${randomBytes(16).toString('hex')}`
  const server = createServer()
  const accepted = once(server, 'connection')
  server.listen(path)
  await once(server, 'listening')
  const near = connect(path)
  const [far] = await accepted
  server.close()
  return { near, far: far as Socket }
}
