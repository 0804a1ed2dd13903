#!/usr/bin/env bash
# npm run test:aws: the suite of all pools on EBS itself, on the EC2 instance that this runs on, see docs/ebs.md. Without an account it
# says what to give, and neither calls nor installs anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
if [ -n "${DROVER_AWS_ACCOUNT:-}" ] || ! [ -x node_modules/.bin/node ]; then bash scripts/setup.sh; fi
export PATH="$PWD/node_modules/.bin:$PATH"
exec node test/aws/main.ts "$@"
