#!/usr/bin/env bash
# npm run torture: every fault at every phase of a move, on real hosts under a client that commits, see docs/torture.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec node_modules/.bin/node test/torture/main.ts "$@"
