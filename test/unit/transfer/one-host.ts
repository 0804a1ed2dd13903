import { readFileSync } from 'node:fs'
import type { ReceiveSpec, SendSpec, TlsIdentity } from '../../../src/migrate/transfer.ts'
import { startHost } from './hosts.ts'

/*
 * A process that stands for a `vold`, so that a test can kill it: argv[2] names a file with its identity and the one transfer it has to begin.
 */
const job: { identity: TlsIdentity; receive?: ReceiveSpec; send?: SendSpec } = JSON.parse(
  readFileSync(process.argv[2] ?? '', 'utf8'),
)
const { service, address } = await startHost(job.identity)
const transfer =
  job.receive === undefined ? job.send && (await service.send(job.send)) : await service.receive(job.receive)
transfer?.done.catch(() => {})
process.send?.(address)
setInterval(() => {}, 1_000)
