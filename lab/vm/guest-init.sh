#!/bin/bash
# PID 1 of a guest. Mounts what a system needs, then the disks that the lab gave it, runs the command that lies beside it, says
# how it ended, and powers off. Output, exit status and results leave by virtio-serial ports.
set -x
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount --make-rshared /
hostname guest
modprobe -a virtio_console virtio_net loop
# Each write to a disk of LVM would start a program that looks for what else could be activated, and keep a copy of what was written.
ln -s /dev/null /etc/udev/rules.d/69-lvm.rules
printf 'backup { backup = 0 archive = 0 }\n' >/etc/lvm/lvmlocal.conf
/usr/lib/systemd/systemd-udevd --daemon
# Block devices only: drivers for what else QEMU pretends to have cost time and serve nobody.
udevadm trigger --action=add --subsystem-match=block
udevadm settle --timeout=30
ip link set lo up

port() { for each in /sys/class/virtio-ports/*; do [ "$(cat "$each/name")" = "$1" ] && echo "/dev/${each##*/}"; done; }
output=$(port output)
status=$(port status)
ln -s "$(port results)" /dev/drover-results
mkdir -p /drover /scratch /kept
mount -t ext4 -o noatime "/dev/disk/by-id/virtio-scratch" /scratch
if [ -e /dev/disk/by-id/virtio-kept ]; then mount -t ext4 -o noatime /dev/disk/by-id/virtio-kept /kept; fi
mount --bind --make-private /mnt/tree /drover
mkdir -p /drover/node_modules
mount -t ext4 -o noatime "/dev/disk/by-id/virtio-modules" /drover/node_modules
# What the kernel offers is loaded when the run asks for it by name.
# shellcheck disable=SC2046
modprobe -a $(cat /mnt/modules)
cd /drover || exit 1
bash /mnt/command >"$output" 2>&1 </dev/null
echo $? >"$status"
if mountpoint -q /kept; then umount /kept; fi
sync
/bin/busybox poweroff -f
