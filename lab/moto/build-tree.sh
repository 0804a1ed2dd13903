#!/usr/bin/env bash
# build-tree.sh TREE MIRROR SUITE PACKAGES: a small Debian in TREE, with these packages (a list with commas).
# To be run in a mount and a pid namespace of its own: what it mounts and starts ends with it.
set -euo pipefail
tree=$1 mirror=$2 suite=$3 packages=$4
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
debootstrap --variant=minbase --include="$packages" "$suite" "$tree" "$mirror"
chroot "$tree" python3 -c 'import moto.server'
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,man,locale}
