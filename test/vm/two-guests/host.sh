#!/bin/bash
# host.sh NUMBER: makes a Docker host of this guest, 10.77.0.1NUMBER, with a pool on ZFS and one on LVM, and joins it to the other
# guest's cluster or makes that. The first one then walks a database; the second one stays until it is told to end.
set -euo pipefail
number=$1
export PATH=/drover/bin:/drover/node_modules/.bin:$PATH TMPDIR=/scratch NODE_COMPILE_CACHE=/scratch/compile-cache
say() { echo "guest$number, $(cut -d. -f1 /proc/uptime) s: $*"; }

hostname "guest$number"
printf '127.0.0.1 localhost\n10.77.0.11 guest1\n10.77.0.12 guest2\n' >/etc/hosts
card=$(ls /sys/class/net | grep -vx lo | head -n 1)
ip addr add "10.77.0.1$number/24" dev "$card"
ip link set "$card" up

truncate -s 6G /scratch/zpool
zpool create -O mountpoint=none -o cachefile=none tank /scratch/zpool
zfs create tank/drover
truncate -s 4G /scratch/lvm
loop=$(losetup --find --show /scratch/lvm)
vgcreate -q vg0 "$loop"
lvcreate -q --type thin-pool -L 3G --poolmetadatasize 16M --monitor n -n thin vg0
lvchange -q --errorwhenfull y vg0/thin

# Containers are on the host's network here: what an engine does with bridges and packet filters is not what is tested.
dockerd --data-root /scratch/docker --bridge=none --iptables=false --ip6tables=false >/scratch/dockerd.log 2>&1 &
for _ in $(seq 300); do [ -S /run/docker.sock ] && docker version >/dev/null 2>&1 && break; sleep 1; done
say "engine $(docker version --format '{{.Server.Version}}')"
docker load --quiet </dev/disk/by-id/virtio-postgres
say 'image loaded'

vold --host-name "guest$number" --advertise "10.77.0.1$number:7460" --pool zfs:tank/drover --pool lvm:vg0/thin >/scratch/vold.log 2>&1 &
for _ in $(seq 300); do [ -S /run/drover/vold.sock ] && break; sleep 1; done
trap 'tail -n 40 /scratch/vold.log' ERR
say 'vold listens'
if [ "$number" = 1 ]; then
  vol init | tee /scratch/init
  grep -o 'vol join .*' /scratch/init >/scratch/join
  socat -u OPEN:/scratch/join TCP-LISTEN:9000
  socat -u TCP-LISTEN:9001 -
  say 'both are in one cluster'
  # What a test that failed is understood by.
  vol events --follow &
  status=0
  node test/vm/two-guests/walk.ts || status=$?
  if [ "$status" != 0 ]; then
    tail -n 60 /scratch/vold.log
    vol moves
  fi
  socat -u OPEN:/dev/null TCP:10.77.0.12:9002 || true
  exit "$status"
fi
socat -u TCP:10.77.0.11:9000,retry=600,interval=1 - >/scratch/join
bash -c "$(cat /scratch/join)"
socat -u OPEN:/dev/null TCP:10.77.0.11:9001,retry=60,interval=1
say 'joined'
socat -u TCP-LISTEN:9002 -
tail -n 20 /scratch/vold.log
