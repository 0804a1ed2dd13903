import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ReceiveSpec, SendSpec } from '../../../src/migrate/transfer.ts'
import { createAuthority, startHost, type TestHost } from './hosts.ts'
import { gone, parentOf, there } from './processes.ts'

let here: TestHost
let authority: Awaited<ReturnType<typeof createAuthority>>
let directory: string
const others: ChildProcess[] = []

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'drover-vold-death-'))
  authority = await createAuthority('c1')
  here = await startHost(await authority.issue('here'))
})
afterEach(async () => {
  for (const other of others.splice(0)) other.kill('SIGKILL')
  await here.service.close()
  rmSync(directory, { recursive: true })
})

const startOther = async (job: { receive?: ReceiveSpec; send?: SendSpec }) => {
  const path = join(directory, 'job.json')
  writeFileSync(path, JSON.stringify({ identity: await authority.issue('other'), ...job }))
  const other = fork(fileURLToPath(new URL('./one-host.ts', import.meta.url)), [path], { execArgv: [] })
  others.push(other)
  const [address] = await once(other, 'message')
  return { other, address: String(address) }
}

for (const plain of [false, true]) {
  const mode = plain ? 'plain' : 'TLS'
  const common = (peerHostId: string) => ({
    sessionId: `death-${mode}`,
    peerHostId,
    plain,
    // Over TLS the other end cannot tell it from a cut: it waits for another link for a while.
    patienceMs: 0,
    ...(plain ? { ticket: 't'.repeat(32) } : {}),
  })

  test(`${mode}: kill -9 of the target's vold ends its transfer, the command, and the source`, async () => {
    const words = { source: `2000.${plain ? 1 : 2}`, target: `2001.${plain ? 1 : 2}` }
    const { other, address } = await startOther({ receive: { ...common('here'), argv: ['sleep', words.target] } })
    const sent = await here.service.send({
      ...common('other'),
      argv: ['sleep', words.source],
      address,
      bwlimitBytes: null,
    })
    const transferPid = parentOf(await there(words.target))
    await there(words.source)
    other.kill('SIGKILL')
    await expect(sent.done).rejects.toMatchObject({ code: 'STREAM_FAILED' })
    await gone(words.source)
    await gone(words.target)
    await vi.waitFor(() => expect(existsSync(`/proc/${transferPid}`)).toBe(false), { timeout: 20_000 })
  })

  test(`${mode}: kill -9 of the source's vold ends its transfer, the command, and the target`, async () => {
    const words = { source: `2002.${plain ? 1 : 2}`, target: `2003.${plain ? 1 : 2}` }
    const received = await here.service.receive({ ...common('other'), argv: ['sleep', words.target] })
    const { other } = await startOther({
      send: { ...common('here'), argv: ['sleep', words.source], address: here.address, bwlimitBytes: null },
    })
    const transferPid = parentOf(await there(words.source))
    await there(words.target)
    other.kill('SIGKILL')
    await expect(received.done).rejects.toMatchObject({ code: 'STREAM_FAILED' })
    await gone(words.source)
    await gone(words.target)
    await vi.waitFor(() => expect(existsSync(`/proc/${transferPid}`)).toBe(false), { timeout: 20_000 })
  })
}
