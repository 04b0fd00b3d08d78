#!/usr/bin/env bash
# Set-up and the test suite; arguments go to pytest.
#   launch/test.sh                   what every change must pass
#   launch/test.sh -m exhaustive     what takes longer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
exec .venv/bin/python -m pytest "$@"
