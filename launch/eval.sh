#!/usr/bin/env bash
# Evaluate a run on every GPU of this machine, or of several.
#
#   launch/eval.sh [--dry_run] EVAL FLAGS                     one worker a GPU; without any, one (WORKERS=2: so many)
#   HOSTS=a:4,b:4 launch/eval.sh [--dry_run] EVAL FLAGS       over ssh, without hosts that do not answer: see launch/common.sh
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

hosts=$HOSTS
if [ -n "$HOSTS" ] && [ -z "$dry_run" ]; then find_answering "$HOSTS"; fi # the counts are the same for any number of workers
choose_launcher "$hosts"
run "${launcher[@]}" "$root/.venv/bin/shardtune" eval "$@"
