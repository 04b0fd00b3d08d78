#!/usr/bin/env bash
# Measure what only a GPU can show, in less than 10 minutes: outputs, rates, memory, determinism, NCCL. Without GPUs it does the
# same on the cores, with small images.
#
#   launch/gpu_check.sh [--out gpu_check.json] [--seconds 570] [--small]
#   launch/gpu_check.sh --table gpu_check.json     print such a file as Markdown
#
# The parts that matter most come first. With more seconds each may take longer. Ctrl-C leaves what was measured in the file.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# Leaves gpu_check.json in this folder.
exec python -m tests.benchmarks.gpu_check "$@"
