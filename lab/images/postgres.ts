import { appendFileSync, chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LabError, run, tryRun } from '../command.ts'
import { cachedArchive } from './archive.ts'
import { busyboxVersion, fillBusybox } from './busybox.ts'

const recipeVersion = '1'
const entrypoint = join(import.meta.dirname, 'postgres-entrypoint.sh')

/**
 * PostgreSQL 15 of Debian 12 and every library its programs link to; left out are the just-in-time compiler (LLVM, 120 MB)
 * and Debian's wrappers in Perl. `check` proves the list complete.
 */
const packages = [
  ...['postgresql-15', 'postgresql-client-15', 'libpq5', 'tzdata', 'libc6', 'libc-bin'],
  ...['libaudit1', 'libcap-ng0', 'libcap2', 'libcom-err2', 'libffi8', 'libgcc-s1', 'libgcrypt20', 'libgmp10'],
  ...['libgnutls30', 'libgpg-error0', 'libgssapi-krb5-2', 'libhogweed6', 'libicu72', 'libidn2-0', 'libk5crypto3'],
  ...['libkeyutils1', 'libkrb5-3', 'libkrb5support0', 'libldap-2.5-0', 'liblz4-1', 'liblzma5', 'libnettle8'],
  ...['libp11-kit0', 'libpam0g', 'libreadline8', 'libsasl2-2', 'libssl3', 'libstdc++6', 'libsystemd0', 'libtasn1-6'],
  ...[
    'libtinfo6',
    'libunistring2',
    'libxml2',
    'libxslt1.1',
    'libzstd1',
    'zlib1g',
    'libuuid1',
    'libselinux1',
    'libpcre2-8-0',
  ],
]
const programs = '/usr/lib/postgresql/15/bin'
const dataDirectory = '/var/lib/postgresql/data'

export const postgresArchive = async (): Promise<string> =>
  cachedArchive({
    name: 'postgres',
    key: [recipeVersion, await busyboxVersion(), ...(await candidates()), readFileSync(entrypoint, 'utf8')].join('\n'),
    config: {
      Env: [
        `PATH=${programs}:/usr/sbin:/usr/bin:/sbin:/bin`,
        'LANG=C.UTF-8',
        'PGUSER=postgres',
        `PGDATA=${dataDirectory}/pgdata`,
      ],
      Entrypoint: ['/entrypoint.sh'],
      Cmd: ['postgres'],
      ExposedPorts: { '5432/tcp': {} },
      Volumes: { [dataDirectory]: {} },
      StopSignal: 'SIGINT',
    },
    fill: fillPostgres,
  })

/** `name=version` of what apt would fetch now. */
const candidates = async (): Promise<string[]> => {
  const ask = async (): Promise<string[]> => {
    const { stdout } = await tryRun(['apt-cache', 'show', '--no-all-versions', ...packages], { env: environment })
    return [...stdout.matchAll(/^Package: (.*)\n(?:.*\n)*?Version: (.*)$/gm)].map(
      ([, name, version]) => `${name}=${version}`,
    )
  }
  let found = await ask()
  if (found.length < packages.length) {
    await run(['apt-get', '--quiet', 'update'], { env: environment })
    found = await ask()
  }
  if (found.length >= packages.length) return found.sort()
  const missing = packages.filter((name) => !found.some((each) => each.startsWith(`${name}=`)))
  throw new LabError(`apt knows no ${missing.join(', ')}; the PostgreSQL image is made from Debian 12's packages`)
}
const environment = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }

const fillPostgres = async (root: string, work: string): Promise<void> => {
  const debs = join(work, 'debs')
  mkdirSync(debs)
  const download = ['apt-get', '--quiet', '--option', 'APT::Sandbox::User=root', 'download', ...packages]
  if ((await tryRun(download, { cwd: debs, env: environment })).exitCode !== 0) {
    // The lists are older than the mirror.
    await run(['apt-get', '--quiet', 'update'], { env: environment })
    await run(download, { cwd: debs, env: environment })
  }
  await fillBusybox(root)
  for (const deb of readdirSync(debs)) await run(['dpkg-deb', '--extract', join(debs, deb), root])
  for (const path of leftOut) await run(['bash', '-c', 'rm -rf "$1"/$2', 'bash', root, path])
  appendFileSync(join(root, 'etc/passwd'), 'postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/sh\n')
  appendFileSync(join(root, 'etc/group'), 'postgres:x:999:\n')
  copyFileSync(entrypoint, join(root, 'entrypoint.sh'))
  chmodSync(join(root, 'entrypoint.sh'), 0o755)
  for (const directory of [dataDirectory, 'var/run/postgresql']) mkdirSync(join(root, directory), { recursive: true })
  await run(['chown', '-R', '999:999', join(root, 'var/lib/postgresql'), join(root, 'var/run/postgresql')])
  await run(['chroot', root, '/sbin/ldconfig'])
  await check(root)
}

/** Below the root, with a shell's wildcards: what a server in a container has no use for. */
const leftOut = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/lintian',
  'usr/lib/postgresql/15/lib/bitcode',
  'usr/lib/postgresql/15/lib/llvmjit*',
]

/** Every program finds its libraries. @throws {LabError} naming one that does not */
const check = async (root: string): Promise<void> => {
  for (const program of ['postgres', 'initdb', 'psql', 'pgbench', 'pg_isready', 'pg_dump', 'pg_basebackup']) {
    const { exitCode, stderr } = await tryRun(['chroot', root, `${programs}/${program}`, '--version'])
    if (exitCode !== 0) throw new LabError(`${program} does not start in the PostgreSQL image: ${stderr.trim()}`)
  }
}
