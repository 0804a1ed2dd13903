#!/usr/bin/env bash
# npm run lab -- up|down|status|shell HOST|exec HOST -- CMD...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bash "$here/setup.sh"
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec "$here/../node_modules/.bin/node" "$here/../lab/main.ts" "$@"
