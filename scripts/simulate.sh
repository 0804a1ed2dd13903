#!/usr/bin/env bash
# npm run simulate: the real mover, agents and control role over simulated machines, see docs/simulation.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec node_modules/.bin/node test/simulation/main.ts "$@"
