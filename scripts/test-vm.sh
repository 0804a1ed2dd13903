#!/usr/bin/env bash
# npm run test:vm: the suites for what this machine's kernel may lack (OpenZFS, LVM), in a virtual machine, see docs/vm-lab.md.
# --missing, --all, --power-cuts and --two-guests: see there. Other arguments go on to vitest in the guest: npm run test:vm -- --project zfs; npm run test:vm -- --exec COMMAND runs something else there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
if [ "$(id -u)" != 0 ]; then
  echo 'test:vm: root is needed: a Debian guest is built with debootstrap' >&2
  exit 1
fi
bash scripts/setup.sh
missing=()
for entry in qemu-system-x86:qemu-system-x86_64 debootstrap:debootstrap e2fsprogs:mke2fs xz-utils:xz curl:curl; do
  command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "test:vm: installing ${missing[*]}" >&2
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get -q update && apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends --no-remove "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
fi
export PATH="$PWD/node_modules/.bin:$PATH" DROVER_VM=1
case ${1:-} in
  --power-cuts | --two-guests) exec vitest run --project "${1#--}" ;;
  --all | --missing) ;;
  *) exec node lab/vm/main.ts "$@" ;;
esac
# The suites in guests side by side, and beside them guests whose power fails, told when they have ended.
node lab/vm/main.ts --prepare
reporters=()
if [ -n "${2:-}" ]; then
  reporters=(--reporter=default --reporter=json "--outputFile.json=$(dirname "$2")/power-cuts.json")
fi
projects=(--project power-cuts)
if [ "$1" = --all ]; then
  export DROVER_VM_ALL=1
  projects+=(--project two-guests)
fi
log=$(mktemp)
vitest run "${projects[@]}" "${reporters[@]}" >"$log" 2>&1 </dev/null &
cuts=$!
trap 'if [ -n "$cuts" ]; then kill "$cuts" 2>/dev/null || true; fi; rm -f "$log"' EXIT
status=0
node lab/vm/main.ts "$@" || status=$?
wait "$cuts" || status=$?
cuts=
cat "$log"
exit "$status"
