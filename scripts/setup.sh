#!/usr/bin/env bash
# Brings a Debian 12 machine to where `npm test`, `npm run lab` and `npm run demo` work: Debian packages (as root) and
# node_modules. Safe to run again; says nothing and takes well under a second when there is nothing to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A plain `su` leaves root without the administrator's directories.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# package:program whose presence will do as well (a Docker engine of another packager must not be pushed aside).
wanted=(
  docker.io:/usr/sbin/dockerd,/usr/bin/dockerd
  btrfs-progs:mkfs.btrfs
  xfsprogs:mkfs.xfs
  rsync:rsync
  e2fsprogs:mkfs.ext4
  socat:socat
  iproute2:ip,tc
  iptables:iptables
  busybox-static:
  util-linux:nsenter,unshare,setpriv,losetup
  mount:mount
  procps:ps
  podman:podman
  docker-compose:docker-compose
  curl:curl
  tar:tar
  xz-utils:xz
  zstd:zstd
  spin:spin
  debootstrap:debootstrap
  gcc:gcc,cpp
  libc6-dev:
  ca-certificates:
)

provided() { # a package, and a comma-separated list of programs: `dockerd` may stand in either place, the others are all needed
  local programs=$2 program
  [ -n "$programs" ] || return 1
  if [ "$1" = docker.io ]; then
    for program in ${programs//,/ }; do [ -x "$program" ] && return 0; done
    return 1
  fi
  for program in ${programs//,/ }; do have "$program" || return 1; done
}

missing_packages() {
  local installed entry
  installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${Package} ' 2>/dev/null) "
  for entry in "${wanted[@]}"; do
    provided "${entry%%:*}" "${entry#*:}" && continue
    [[ $installed == *" ii ${entry%%:*} "* ]] || echo "${entry%%:*}"
  done
}

install_packages() {
  have apt-get && have dpkg-query || { say 'not a Debian machine: Debian packages left out'; return; }
  local missing log
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "not root, so these Debian packages are left out: ${missing[*]} (run 'npm run setup' as root)"
    return 0
  fi
  say "installing ${missing[*]}"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  # --no-remove: rather fail than push aside what the machine's owner chose.
  if ! { apt-get -q update && apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends --no-remove "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${missing[*]}; its last lines stand above"
  fi
  rm -f "$log"
}

modules_are_there() {
  [ -x node_modules/.bin/node ] && [ -e node_modules/.drover-setup ] && ! [ package-lock.json -nt node_modules/.drover-setup ]
}

install_modules() {
  modules_are_there && return 0
  # One at a time: npm takes the folder away first.
  exec 9<package-lock.json
  if have flock; then flock 9; fi
  modules_are_there && return 0
  # Installed by hand with npm and complete: npm's own copy of the lockfile tells.
  if [ -x node_modules/.bin/node ] && [ -e node_modules/.package-lock.json ] \
    && ! [ package-lock.json -nt node_modules/.package-lock.json ]; then
    touch node_modules/.drover-setup
    return 0
  fi
  have npm || die "npm is missing: install it (Debian: apt-get install npm) and run this again"
  say 'installing node_modules'
  local log options=(--ignore-scripts --no-audit --no-fund --loglevel=error)
  log=$(mktemp)
  # Whatever npm the machine has: no script of a dependency runs, and an old Node.js only warns (the real one comes with
  # node_modules). Where a registry lacks packages for other platforms, some npm versions call the lockfile incomplete: then
  # `npm install`, which takes the same versions with the same checksums from it.
  if ! { npm ci "${options[@]}" || npm install --no-save "${options[@]}"; } >"$log" 2>&1 9<&- </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die 'npm could not install node_modules; its last lines stand above'
  fi
  rm -f "$log"
  [ -x node_modules/.bin/node ] || die "node_modules holds no Node.js for this machine ($(uname -sm)); Linux on x86-64 is needed"
  touch node_modules/.drover-setup
}

install_packages
install_modules
