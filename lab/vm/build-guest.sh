#!/usr/bin/env bash
# build-guest.sh WORK MIRROR SUITE BUSYBOX PACKAGES: makes WORK/guest with root.ext4, vmlinuz and initrd of a Debian guest that has OpenZFS.
# To be run in a mount and a pid namespace of its own: what it mounts and starts ends with it.
set -euo pipefail
work=$1 mirror=$2 suite=$3 busybox=$4 packages=$5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$work/root out=$work/guest
mkdir -p "$out"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin

debootstrap --variant=minbase --components=main,contrib "$suite" "$root" "$mirror"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# No service starts here, and no initramfs of Debian's is needed: the guest boots with the one made below.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/etc/initramfs-tools" "$root/etc/dpkg/dpkg.cfg.d"
printf 'update_initramfs=no\n' >"$root/etc/initramfs-tools/update-initramfs.conf"
printf 'force-unsafe-io\nforce-confold\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' >"$root/etc/dpkg/dpkg.cfg.d/guest"
in_root() { chroot "$root" "$@"; }
in_root apt-get -q -y --no-install-recommends install linux-image-amd64 linux-headers-amd64
# shellcheck disable=SC2086 # a list of words
in_root apt-get -q -y --no-install-recommends install $packages

kernel=$(ls "$root/lib/modules")
if ! ls "$root/lib/modules/$kernel/updates/dkms"/zfs.ko* >/dev/null 2>&1; then in_root dkms autoinstall -k "$kernel"; fi
in_root depmod "$kernel"
in_root modinfo -k "$kernel" -F version zfs
in_root dpkg-query -W -f '${Package} ${Version}\n' >"$out/packages.txt"

# What only the compiling needed. By hand: to purge zfs-dkms would remove the module.
rm -rf "$root"/usr/src/* "$root"/var/lib/dkms "$root"/usr/lib/gcc/*/*/cc1* "$root"/usr/lib/gcc/*/*/lto* "$root"/var/cache/apt/* \
  "$root"/var/lib/apt/lists/* "$root"/boot/initrd*
umount "$root/proc" "$root/sys"

printf 'guest\n' >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n' >"$root/etc/hosts"
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"

# The initramfs: busybox and what is needed to find the root file system.
ramfs=$work/initramfs
mkdir -p "$ramfs/bin" "$ramfs/modules" "$ramfs/dev" "$ramfs/root" "$ramfs/proc"
cp "$busybox" "$ramfs/bin/busybox"
in_root modprobe -S "$kernel" --show-depends -a virtio_pci virtio_blk ext4 | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
number=100
while read -r file; do
  name=$number-$(basename "${file%.xz}")
  case $file in
    *.xz) xz -dc "$root$file" >"$ramfs/modules/$name" ;;
    *) cp "$root$file" "$ramfs/modules/$name" ;;
  esac
  number=$((number + 1))
done <"$work/modules"
cat >"$ramfs/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || /bin/busybox poweroff -f
/bin/busybox mount -t ext4 -o noatime /dev/vdb /root/mnt || /bin/busybox poweroff -f
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /mnt/init
INIT

chmod 755 "$ramfs/init"
(cd "$ramfs" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$out/initrd"

mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -m 0 -d "$root" "$out/root.ext4" 6G
