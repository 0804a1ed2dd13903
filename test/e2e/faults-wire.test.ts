import { writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { sleep } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { createAuthority, openAuthority } from '../../src/cluster/certificate-authority.ts'
import { generateKeys, makeCsr, privateKeyPem } from '../../src/cluster/certificates.ts'
import { clusterId, hostId } from '../../src/domain/ids.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { clearHosts, expectRefusal, pluginCall, worldOf } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'
import { overUnix } from '../support/unix-http.ts'

/** What comes over the wire and should not: on the REST socket, the plugin's socket and the TLS port. */
const shared = useLab('wire', { hosts: 2, poolBytes: 2 ** 30 })
afterEach(() => clearHosts(shared))

const large = Buffer.alloc(10 * 2 ** 20, 'x')
const largeJson = Buffer.from(JSON.stringify({ name: 'unmade', labels: { a: 'x'.repeat(10 * 2 ** 20) } }))

const unchanged = async (act: () => Promise<void>): Promise<void> => {
  const before = await worldOf(shared)
  const resident = await shared.host1.vold.residentBytes()
  await act()
  expect(await worldOf(shared)).toEqual(before)
  // Nothing of a large body is kept.
  expect((await shared.host1.vold.residentBytes()) - resident).toBeLessThan(100 * 2 ** 20)
}

describe('the REST socket', () => {
  const send = async (
    host: LabHost,
    method: string,
    path: string,
    body: string | Buffer,
    type = 'application/json',
  ) => {
    const headers = { 'content-type': type }
    const answer = await overUnix(host.path('/run/drover/vold.sock'), path, { method, body, headers })
    expect(answer.headers['content-type']).toContain('application/problem+json')
    const problem = JSON.parse(answer.text) as { code: string; status: number; detail: string }
    expect(problem.status).toBe(answer.status)
    expect(problem.detail).not.toContain('\n')
    return { status: answer.status, code: problem.code }
  }

  // host1 has the control role, host2 passes on to it.
  it.each(['host1', 'host2'])('of %s refuses what it cannot read', async (name) => {
    const host = shared.host(name)
    const bad = { status: 400, code: 'BAD_REQUEST' }
    await host.vol('create', 'there')
    await unchanged(async () => {
      const create = (body: string | Buffer, type?: string) => send(host, 'POST', '/v1/volumes', body, type)
      expect(await create('{"name": "unmade"')).toEqual(bad)
      expect(await create('')).toEqual(bad)
      expect(await create('null')).toEqual(bad)
      expect(await create('[]')).toEqual(bad)
      expect(await create('{"name": 7}')).toEqual(bad)
      expect(await create('{"name": ["unmade"]}')).toEqual(bad)
      expect(await create('{"name": "unmade", "sizeBytes": "10G"}')).toEqual(bad)
      expect(await create('{"name": "unmade", "sizeBytes": -1}')).toEqual(bad)
      expect(await create('{"name": "unmade", "sizeBytes": 1e30}')).toEqual(bad)
      expect(await create('{"name": "unmade", "sice": 1}')).toEqual(bad)
      expect(await create('{"name": "unmade", "labels": {"a": 1}}')).toEqual(bad)
      expect(await create('{"name": "../../etc"}')).toEqual({ status: 400, code: 'BAD_NAME' })
      expect(await create(large)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' })
      expect(await create(largeJson)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' })
      const move = (body: string) => send(host, 'POST', '/v1/volumes/there/moves', body)
      expect(await move('{"to": 1}')).toEqual(bad)
      expect(await move('{}')).toEqual(bad)
      expect(await move('{"to": "host2", "quiesce": "kill"}')).toEqual(bad)
      expect(await move('{"to": "host9"}')).toEqual({ status: 404, code: 'NO_SUCH_HOST' })
      expect(await send(host, 'PATCH', '/v1/volumes/there', '{"sizeBytes": true}')).toEqual(bad)
      expect(await send(host, 'POST', '/v1/nothing', '{}')).toEqual({ status: 404, code: 'NO_SUCH_ROUTE' })
      expect(await send(host, 'DELETE', '/v1/volumes/%ff', '')).toEqual(bad)
      expect(await send(host, 'GET', '/v1/volumes/..%2f..%2fetc', '')).toEqual({ status: 400, code: 'BAD_NAME' })
    })
  })
})

describe("the plugin's socket", () => {
  it('refuses what it cannot read with 500 and Err, and makes nothing', async () => {
    await unchanged(async () => {
      for (const call of ['Create', 'Mount', 'Unmount', 'Remove']) {
        for (const body of ['', '{', 'null', '[]', '"x"', '{}', '{"Name": 7}', '{"Name": null}', large, largeJson]) {
          const { status, text } = await pluginCall(shared.host1, `VolumeDriver.${call}`, body)
          expect(status).toBe(500)
          expect(JSON.parse(text).Err).toMatch(/^(BAD_REQUEST|BODY_TOO_LARGE): [^\n]+$/)
        }
      }
      const { status, text } = await pluginCall(
        shared.host1,
        'VolumeDriver.Create',
        '{"Name":"unmade","Opts":{"size":1}}',
      )
      expect({ status, text }).toMatchObject({ status: 500, text: expect.stringContaining('BAD_REQUEST') })
      // A Get that could not be read is no answer about a volume: an engine would forget what it knows.
      await expect(pluginCall(shared.host1, 'VolumeDriver.Get', '')).rejects.toThrow(/socket hang up|ECONNRESET/)
    })
  })
})

describe('the TLS port', () => {
  /** Status and code of a request to host1 from host2, with the certificate in `files`, if any. */
  const ask = async (path: string, options: readonly string[] = []) => {
    const url = `https://${shared.host1.address}:7460${path}`
    const { stdout } = await shared.host2.exec(['curl', '-sk', '-w', '\n%{http_code}', ...options, url])
    const [body = '', status] = stdout.split(/\n(?=\d+$)/)
    const { code } = JSON.parse(body) as { code?: string }
    return { status: Number(status), code }
  }
  const post = (body: string) => ['-X', 'POST', '-H', 'content-type: application/json', '-d', body]

  const identityOf = async (host: LabHost): Promise<Record<string, string>> =>
    JSON.parse((await host.exec(['cat', '/var/lib/drover/cluster/identity.json'])).stdout)

  it('serves nobody without a certificate, and only the way in', async () => {
    await unchanged(async () => {
      for (const path of ['/v1/volumes', '/v1/hosts', '/v1/moves', '/metrics', '/agent/ping', '/v1/nothing']) {
        expect(await ask(path), path).toEqual({ status: 401, code: 'UNAUTHENTICATED' })
      }
      expect(await ask('/v1/volumes', post('{"name":"unmade"}'))).toEqual({ status: 401, code: 'UNAUTHENTICATED' })
      expect(await ask('/v1/tokens', post('{}'))).toEqual({ status: 401, code: 'UNAUTHENTICATED' })
    })
  })

  it('does not take a certificate of another authority, whatever names it bears', async () => {
    const identity = await identityOf(shared.host2)
    const cluster = clusterId(String(identity.clusterId))
    const keys = await generateKeys()
    const { caPem, caKeyPem } = await createAuthority(cluster, systemClock)
    const forger = await openAuthority({ caPem, caKeyPem, cluster, clock: systemClock })
    const certPem = await forger.sign(await makeCsr(keys), hostId(String(identity.hostId)))
    writeFileSync(shared.host2.path('/srv/forged.pem'), `${certPem}\n${caPem}`)
    writeFileSync(shared.host2.path('/srv/forged.key'), await privateKeyPem(keys))
    writeFileSync(shared.host2.path('/srv/own.pem'), String(identity.certPem))
    writeFileSync(shared.host2.path('/srv/own.key'), String(identity.keyPem))
    const forged = ['--cert', '/srv/forged.pem', '--key', '/srv/forged.key']
    const own = ['--cert', '/srv/own.pem', '--key', '/srv/own.key']
    await unchanged(async () => {
      expect(await ask('/v1/volumes', forged)).toEqual({ status: 401, code: 'UNAUTHENTICATED' })
      expect(await ask('/agent/ping', [...forged, ...post('{}')])).toEqual({ status: 401, code: 'UNAUTHENTICATED' })
      // A member's own is taken: that the others were not is due to their certificates.
      expect((await ask('/v1/volumes', own)).status).toBe(200)
      writeFileSync(shared.host2.path('/srv/large'), large)
      const upload = [...own, '-X', 'POST', '-H', 'content-type: application/json', '--data-binary', '@/srv/large']
      expect(await ask('/v1/volumes', upload)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' })
    })
  })

  it('admits nobody by an expired, a used, a damaged or a foreign token', async () => {
    const { host1, host2, lab } = shared
    // A vold of its own on host2, which is in no cluster yet.
    const spare = (...args: string[]) => host2.tryExec(['vol', '--socket', '/run/spare/vold.sock', ...args])
    const tokenOf = (line: string) => /--token (\S+)/.exec(line)?.[1] ?? ''
    await host2.exec([
      'sh',
      '-c',
      'mkdir -p /srv/spare-pool /run/spare; truncate -s 256M /srv/spare.img; mkfs.btrfs -q /srv/spare.img; mount -o loop /srv/spare.img /srv/spare-pool',
    ])
    const vold = host2.spawn(
      [
        ...['vold', '--data-dir', '/var/lib/spare', '--run-dir', '/run/spare', '--plugin-dir', '/run/spare/plugins'],
        ...['--listen', '127.0.0.1:7560', '--data-listen', '127.0.0.1:7561', '--host-name', 'spare'],
        ...['--advertise', '127.0.0.1:7560', '--pool', 'btrfs:/srv/spare-pool'],
      ],
      'ignore',
    )
    try {
      const join = (token: string) => spare('join', `${host1.address}:7460`, '--token', token)
      for (let tries = 0; (await spare('hosts')).exitCode !== 0; tries += 1) {
        expect(tries).toBeLessThan(300)
        await sleep(100)
      }
      await unchanged(async () => {
        const expired = tokenOf(await host1.vol('token', '--ttl', '1s'))
        expect(expired).not.toBe('')
        const { expiresAt } = JSON.parse(Buffer.from(expired, 'base64url').toString())
        while (Date.now() <= Date.parse(expiresAt)) await sleep(50)
        expectRefusal(await join(expired), 1, 'TOKEN_INVALID', /expired.*vol token/)
        const good = tokenOf(await host1.vol('token'))
        expectRefusal(await join(good.slice(0, -8)), 1, 'TOKEN_INVALID', /token/)
        expectRefusal(await join('nonsense'), 1, 'TOKEN_INVALID', /vol token/)
        const fields = JSON.parse(Buffer.from(good, 'base64url').toString())
        const made = (change: object) => Buffer.from(JSON.stringify({ ...fields, ...change })).toString('base64url')
        expectRefusal(await join(made({ secret: '0'.repeat(64) })), 1, 'TOKEN_INVALID', /token/)
        // Pinned: a server whose authority is not the token's is not even told the secret.
        const foreign = await join(made({ caFingerprint: '0'.repeat(64) }))
        expect(foreign.exitCode).toBe(1)
        expect(foreign.stderr).toMatch(/^vol: (TOKEN_INVALID|UNAUTHENTICATED): [^\n]+\n$/)
      })
      expect((await spare('hosts')).stdout).toMatch(/^spare\s/m)
      const token = tokenOf(await host1.vol('token'))
      expect((await join(token)).exitCode).toBe(0)
      expect(await host1.vol('hosts')).toContain('spare')
      // Used once, it is used up.
      const answer = await ask(
        '/v1/join',
        post(
          JSON.stringify({
            ...{
              secret: JSON.parse(Buffer.from(token, 'base64url').toString()).secret,
              csrPem: await makeCsr(await generateKeys()),
            },
            ...{ hostName: 'again', address: '10.77.0.99:7460', dataAddress: '10.77.0.99:7461', pools: [] },
          }),
        ),
      )
      expect(answer).toEqual({ status: 401, code: 'TOKEN_INVALID' })
      await host1.vol('host', 'rm', 'spare')
      expect((await worldOf(shared)).members).toEqual(lab.hosts.map(({ name }) => name))
    } finally {
      const ended = new Promise((resolve) => vold.once('close', resolve))
      host2.signal(vold, 'SIGTERM')
      await ended
      await host2.exec(['umount', '/srv/spare-pool'])
    }
  })
})
