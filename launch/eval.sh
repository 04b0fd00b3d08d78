#!/usr/bin/env bash
# Evaluate a run on every GPU of this machine, or of several.
#
#   launch/eval.sh [--dry_run] EVAL FLAGS                     one worker per GPU; without GPUs, one (WORKERS=2: two)
#   HOSTS=a:4,b:4 launch/eval.sh [--dry_run] EVAL FLAGS       over ssh, without hosts that do not answer: see launch/common.sh
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
while [[ ${1-} == --dry_run ]]; do options+=("$1") && shift; done

# Leaves eval.json in --eval_dir.
exec shardtune supervise "${options[@]}" ${WORKERS:+--workers "$WORKERS"} -- shardtune eval "$@"
