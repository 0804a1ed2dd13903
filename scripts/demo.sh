#!/usr/bin/env bash
# npm run demo: a real PostgreSQL and its volume walk from one Docker host to another, under a client that keeps committing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "$(id -u)" != 0 ]; then
  echo 'demo: root is needed: it makes namespaces, mounts and two Docker engines' >&2
  exit 1
fi
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
bash scripts/setup.sh
npm run --silent build
exec node_modules/.bin/node demo/main.ts "$@"
