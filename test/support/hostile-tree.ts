import { chmodSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sh } from './loop-btrfs.ts'
import { plantTree } from './volume-tree.ts'
import { setXattr } from './xattr.ts'

/** user::rw-, user:1000:rwx, group::r--, mask::rwx, other::r-- as the kernel keeps it. */
const acl = Buffer.from(
  '02000000' +
    ['0100 0600 ffffffff', '0200 0700 e8030000', '0400 0400 ffffffff', '1000 0700 ffffffff', '2000 0400 ffffffff']
      .join('')
      .replaceAll(' ', ''),
  'hex',
)

/** All of the lower three digits, and some with the fourth. */
const modes = [
  ...Array.from({ length: 0o1000 }, (_, mode) => mode),
  ...Array.from({ length: 49 }, (_, index) => 0o1110 + index * 0o111),
]

/** Whatever a directory can hold that a copy could lose: every mode, names of any bytes and of full length, ACLs, devices, sockets, far times. */
export const plantHostileTree = async (directory: string): Promise<void> => {
  await plantTree(directory)
  const at = (name: string) => join(directory, name)
  mkdirSync(at('modes'))
  for (const mode of modes) {
    const path = at(`modes/${mode.toString(8)}`)
    writeFileSync(path, '')
    chmodSync(path, mode)
  }
  for (const name of ['n'.repeat(255), '-rf', ' ', '\\', '\'"`$(x)', '\u{1f404}', 'tab\tand\rreturn\u0001']) {
    writeFileSync(at(name), name)
  }
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x80])]), 'not UTF-8')
  symlinkSync('t'.repeat(4000), at('long link'))
  for (let count = 0; count < 200; count += 1) linkSync(at('plain'), at(`link ${count}`))
  mkdirSync(at(Array.from({ length: 60 }, () => 'deep'.repeat(10)).join('/')), { recursive: true })
  setXattr(at('owned'), 'system.posix_acl_access', acl)
  setXattr(at('empty'), 'system.posix_acl_default', acl)
  setXattr(at('owned'), 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'))
  setXattr(at('plain'), 'user.large', Buffer.alloc(2000, 7))
  await sh('mknod', at('character'), 'c', '1', '3')
  await sh('mknod', at('block'), 'b', '7', '200')
  const perl = 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; bind(S, sockaddr_un($ARGV[0])) or die "$!"'
  await sh('perl', '-e', perl, at('socket'))
  await sh('touch', '-d', '1933-05-05 05:05:05.123456789', at('owned'))
  await sh('touch', '-d', '2200-12-31 23:59:59.999999999', at('setuid'))
}
