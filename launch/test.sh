#!/usr/bin/env bash
# Set-up and the test suite; arguments go to pytest.
#   launch/test.sh                   what every change must pass
#   launch/test.sh -m exhaustive     what takes longer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
# Two at a time: many tests wait for processes of their own.
# A file's tests stay together, for what they share, and so do those of some folders: tests/scheduling.py.
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
