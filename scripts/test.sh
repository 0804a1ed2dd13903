#!/usr/bin/env bash
# npm test: set-up, type check and build, then every suite, all on the real thing, in a guest where this kernel lacks what it needs.
# Without root: what needs none.
# Arguments go on to vitest, e.g. `npm test -- --project unit` or `npm test -- test/e2e/move.test.ts`; no guest then.
# With DROVER_TEST_RESULTS=DIRECTORY the results are written there too, as JSON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"

tsc --noEmit -p tsconfig.json
# Built, since that is what `vol` and `vold` run when it is newer than the source.
rm -rf dist
tsc -p tsconfig.build.json

reporters=()
if [ -n "${DROVER_TEST_RESULTS:-}" ]; then
  reporters=(--reporter=default --reporter=json "--outputFile.json=$DROVER_TEST_RESULTS/machine.json")
fi
status=0
if [ "$(id -u)" = 0 ]; then
  vitest run "${reporters[@]}" "$@" || status=$?
  [ $# = 0 ] || exit "$status"
  guest=()
  if [ -n "${DROVER_TEST_RESULTS:-}" ]; then guest=("$DROVER_TEST_RESULTS/guest.json"); fi
  bash scripts/test-vm.sh --missing "${guest[@]}" || status=$?
  exit "$status"
fi
vitest run --project unit "${reporters[@]}" "$@" || status=$?
echo >&2
echo 'Not root: only the unit suite ran. Left out: contract, platform and end-to-end, which make file systems,' >&2
echo 'namespaces and Docker hosts. To run them as well: sudo npm test' >&2
exit "$status"
