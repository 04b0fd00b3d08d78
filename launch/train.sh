#!/usr/bin/env bash
# Train on every GPU of this machine, or of several. When a worker is lost, training resumes from the last checkpoint.
#
#   launch/train.sh [OPTIONS] TRAIN FLAGS                     one worker per GPU; without GPUs, one (WORKERS=2: two)
#   HOSTS=a:4,b:4 launch/train.sh [OPTIONS] TRAIN FLAGS       over ssh: see launch/common.sh
#
#   --dry_run           print the first command and run nothing
#   --max_restarts 3    how often to restart; hosts that no longer answer are left out
#   --min_workers 1     give up when fewer workers than this are left; any number shares the same global batch
#
# Ctrl-C, SIGTERM and SIGUSR1 stop it with a checkpoint and status 75; the same command then resumes.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# OPTIONS and their values end where the first flag of train begins.
while [[ ${1-} =~ ^(--(dry_run|max_restarts|min_workers)|[^-]) ]]; do options+=("$1") && shift; done

# Leaves checkpoints, metrics.jsonl and outcome.json in --train_dir.
exec shardtune supervise "${options[@]}" ${WORKERS:+--workers "$WORKERS"} -- shardtune train "$@"
