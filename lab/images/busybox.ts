import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../command.ts'
import { cachedArchive } from './archive.ts'

const recipeVersion = '1'

/** Debian's busybox-static with all its applets in `root`, and a root user. */
export const fillBusybox = async (root: string): Promise<void> => {
  for (const directory of ['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp', 'usr', 'var'])
    mkdirSync(join(root, directory))
  chmodSync(join(root, 'tmp'), 0o1777)
  await run(['cp', '/bin/busybox', join(root, 'bin/busybox')])
  const { stdout } = await run(['/bin/busybox', '--list'])
  for (const applet of stdout.split('\n').filter((line) => line !== '' && line !== 'busybox')) {
    symlinkSync('busybox', join(root, 'bin', applet))
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
}

export const busyboxVersion = async (): Promise<string> =>
  (await run(['dpkg-query', '--show', 'busybox-static'])).stdout.trim()

export const busyboxArchive = async (): Promise<string> =>
  cachedArchive({
    name: 'busybox',
    key: `${recipeVersion} ${await busyboxVersion()}`,
    config: { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] },
    fill: fillBusybox,
  })
