#!/usr/bin/env bash
# npm run test:ebs-faults: the suite of all pools on the strict EC2 server under faults, with many seeds, and the random schedules, see docs/ebs.md.
# Options: --seeds COUNT (default 5), --from SEED (default: chosen anew), --schedules COUNT (default 1000).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage='usage: npm run test:ebs-faults -- [--seeds COUNT] [--from SEED] [--schedules COUNT]'
seeds=5 from=$RANDOM schedules=1000
while [ $# -gt 0 ]; do
  [[ "${2:-}" =~ ^[1-9][0-9]{0,8}$ ]] || { echo "test-ebs-faults: $1 ${2:-} is not understood; $usage" >&2; exit 2; }
  case "$1" in
    --seeds) seeds=$2 ;;
    --from) from=$2 ;;
    --schedules) schedules=$2 ;;
    *) echo "test-ebs-faults: there is no $1; $usage" >&2; exit 2 ;;
  esac
  shift 2
done
[ "$(id -u)" = 0 ] || { echo 'test-ebs-faults: not root, which file systems need' >&2; exit 1; }
bash scripts/setup.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
echo "seeds $from to $((from + seeds - 1)); schedules $from to $((from + schedules - 1))"
DROVER_EBS_SCHEDULES="$from,$schedules" vitest run --project unit test/unit/backends/ebs-schedules.test.ts
for ((seed = from; seed < from + seeds; seed += 1)); do
  DROVER_EBS_SEEDS=$seed vitest run --project platform test/platform/ebs-faults.test.ts ||
    { echo "test-ebs-faults: again with: npm run test:ebs-faults -- --seeds 1 --from $seed" >&2; exit 1; }
done
