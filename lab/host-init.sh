#!/bin/bash
# Process 1 of a lab host (or, with the role `switch`, the holder of the network that joins them). Started by holder.ts in
# namespaces of its own. It says its pid and does nothing until told to go on: the pid is on record before there is anything
# to clean up, and when whoever starts it dies first, it ends too.
#   host-init.sh switch | host-init.sh host NAME HOST_DIR REPO
set -eu
read -r outer_pid _ </proc/self/stat # /proc is still the machine's here
echo "pid $outer_pid"
read -r word || exit 1
[ "$word" = go ] || exit 1

if [ "$1" = host ]; then
  name=$2 dir=$3 repo=$4
  hostname "$name"
  ip link set lo up
  mkdir -p "$dir"/{run,etc-upper,etc-work,etc-docker,var-lib,srv,mnt,log}

  # What stands below a directory that gets hidden must still be reached: a handle on the repo, put back at the end if need be.
  mount -t tmpfs -o mode=755 lab-run "$dir/run"
  mkdir -p "$dir"/run/{lock,lab/home,lab/repo}
  mount --bind "$repo" "$dir/run/lab/repo"

  # Where the machine's root is itself an overlay, another one on top is refused: a copy then.
  if ! mount -t overlay -o "lowerdir=/etc,upperdir=$dir/etc-upper,workdir=$dir/etc-work" lab-etc /etc 2>/dev/null; then
    cp -a /etc/. "$dir/etc-upper/"
    mount --bind "$dir/etc-upper" /etc
  fi
  mkdir -p /etc/docker
  mount --bind "$dir/etc-docker" /etc/docker
  echo "$name" >/etc/hostname
  rm -f /etc/resolv.conf /etc/hosts
  : >/etc/resolv.conf
  cp "$dir/hosts" /etc/hosts
  mount -t proc proc /proc
  mount --bind "$dir/log" /var/log
  mount --bind "$dir/srv" /srv
  mount --bind "$dir/mnt" /mnt
  run=$dir/run
  mount --no-mtab --move "$run" /run
  mount --bind "$dir/var-lib" /var/lib
  if [ ! -e "$repo/package.json" ]; then
    mkdir -p "$repo"
    mount --bind /run/lab/repo "$repo"
  fi
  # As systemd leaves a real host: mounts spread within it. The namespace itself is cut off from the machine's.
  mount --make-rshared /
fi
echo ready
exec </dev/null >/dev/null 2>&1
set +e
# bash reaps whatever is orphaned in the namespace; without that an engine's containerd would not come back after a kill.
while :; do
  sleep 86400 &
  wait $!
done
