import { link, mkdir, open, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sh } from './loop-btrfs.ts'

/** Everything about files that a copy could lose. */
export const plantTree = async (directory: string): Promise<void> => {
  await writeFile(join(directory, 'plain'), 'plain\n', { mode: 0o640 })
  await writeFile(join(directory, 'name\nwith newline'), 'x')
  await writeFile(join(directory, 'owned'), 'owned')
  await sh('chown', '1234:5678', join(directory, 'owned'))
  await writeFile(join(directory, 'setuid'), '')
  await sh('chmod', '4755', join(directory, 'setuid'))
  await link(join(directory, 'plain'), join(directory, 'hard link'))
  await symlink('../nowhere', join(directory, 'symlink'))
  await mkdir(join(directory, 'empty'))
  await sh('chmod', '1777', join(directory, 'empty'))
  await mkdir(join(directory, 'deep/er/est'), { recursive: true })
  await writeFile(join(directory, 'deep/er/est/file'), Buffer.alloc(300_000, 7))
  await sh('mkfifo', join(directory, 'fifo'))
  await sparseFile(join(directory, 'sparse'))
  await setXattr(join(directory, 'plain'), 'user.drover', 'kept')
  await setXattr(join(directory, 'owned'), 'trusted.drover', 'kept too')
  await sh('touch', '-d', '2001-02-03 04:05:06.789', join(directory, 'plain'))
}

const sparseFile = async (path: string): Promise<void> => {
  const handle = await open(path, 'w')
  try {
    await handle.write('near the end', 8 * 2 ** 20)
    await handle.truncate(9 * 2 ** 20)
  } finally {
    await handle.close()
  }
}

/** perl-base is on every Debian, the attr package is not. 188 and 191 are setxattr and getxattr on x86-64. */
const setXattr = (path: string, name: string, value: string) =>
  sh(
    'perl',
    '-e',
    'my ($p,$n,$v)=@ARGV; syscall(188,$p,$n,$v,length($v),0)==0 or die "setxattr: $!"',
    path,
    name,
    value,
  )

const describe = String.raw`
  use strict; my ($top)=@ARGV; chdir $top or die "$top: $!"; my %first;
  sub xattrs { my ($p)=@_; my $x=""; for my $name ("user.drover","trusted.drover") {
    my $a=$name; my $b="\0" x 256; my $r=syscall(192,$p,$a,$b,256); $x.="$a=".substr($b,0,$r).";" if $r>0 } $x }
  sub content { my ($p)=@_; open(my $f,"<:raw",$p) or die "$p: $!"; my $c=0; my $block; my $at=0;
    while (read($f,$block,1048576)) { $c=($c*31+unpack("%32N*",$block."\0\0\0")+$at++)%4294967296 } $c }
  sub walk { my ($d)=@_; opendir(my $h,$d) or die; for my $n (sort grep {$_ ne "." && $_ ne ".."} readdir $h) {
    my $p="$d/$n"; my @s=lstat $p; my $file=-f _; my $link=-l _; my $dir=-d _;
    my $same=$first{$s[1]} //= $p; my $shown=$p; $shown=~s/\n/\\n/g;
    printf "%s mode=%o uid=%d gid=%d links=%d size=%d mtime=%d sum=%s to=%s same=%s xattr=%s sparse=%s\n", $shown,
      $s[2],$s[4],$s[5],$s[3],($file?$s[7]:0),$s[9],($file?content($p):""),($link?readlink $p:""),$same,xattrs($p),
      ($file && $s[12]*512<$s[7]/2 && $s[7]>1048576 ? 1 : 0);
    walk($p) if $dir } }
  walk(".");`

/** One line a file: type, mode, owner, links, size, time, content, attributes. Equal trees give equal text. */
export const describeTree = (directory: string): Promise<string> => sh('perl', '-e', describe, directory)
