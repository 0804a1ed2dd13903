#!/usr/bin/env bash
# npm run bench: what Drover must reach, measured side by side with what it is compared to; docs/benchmarks.md is written anew.
# npm run bench -- --quick: small and few, to see that it works; --only ROW: one row alone.
# npm run bench -- --guest [--quick] [--only ROW]: the rows that need OpenZFS, in a guest that has it (docs/vm-lab.md); a whole run writes its part of the page.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "$(id -u)" != 0 ]; then
  echo 'bench: root is needed: it makes file systems, namespaces and two Docker engines' >&2
  exit 1
fi
if [ "${1:-}" = --guest ]; then
  shift
  words=
  if [ $# -gt 0 ]; then words=$(printf '%q ' "$@"); fi
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  bash scripts/test-vm.sh --exec "export PATH=/drover/node_modules/.bin:\$PATH TMPDIR=/scratch NODE_COMPILE_CACHE=/scratch/compile-cache; exec node bench/guest/main.ts $words" | tee "$log"
  node_modules/.bin/node bench/guest/write-section.ts "$log"
  exit
fi
bash scripts/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
npm run --silent build
exec node_modules/.bin/node bench/main.ts "$@"
