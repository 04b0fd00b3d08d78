#!/usr/bin/env bash
# Evaluate a run on every GPU of this machine, or of several.
#
#   launch/eval.sh [--dry_run] EVAL FLAGS                     one worker a GPU; without any, one (WORKERS=2: so many)
#   HOSTS=a:4,b:4 launch/eval.sh [--dry_run] EVAL FLAGS       over ssh: see launch/common.sh
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

choose_launcher "$HOSTS"
run "${launcher[@]}" "$root/.venv/bin/shardtune" eval "$@"
