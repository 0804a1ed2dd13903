#!/usr/bin/env bash
# npm run bench: what Drover must reach, measured side by side with what it is compared to; docs/benchmarks.md is written anew.
# npm run bench -- --quick: small and few, to see that it works; --only ROW: one row alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "$(id -u)" != 0 ]; then
  echo 'bench: root is needed: it makes file systems, namespaces and two Docker engines' >&2
  exit 1
fi
bash scripts/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
npm run --silent build
exec node_modules/.bin/node bench/main.ts "$@"
