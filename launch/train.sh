#!/usr/bin/env bash
# Train on every GPU of this machine, or of several; when a worker is lost, go on from the last checkpoint.
#
#   launch/train.sh [OPTIONS] TRAIN FLAGS                     one worker a GPU; without any, one (WORKERS=2: so many)
#   HOSTS=a:4,b:4 launch/train.sh [OPTIONS] TRAIN FLAGS       over ssh: see launch/common.sh
#
#   --dry_run           (first) print the first command, and run nothing
#   --max_restarts 3    how often to start again; hosts that no longer answer are left out
#   --min_workers 1     give up when fewer workers than this are left; however many share the same global batch
#
# Ctrl-C, SIGTERM and SIGUSR1 stop it with a checkpoint and status 75; the same command then goes on.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=launch/outcome.sh
source "$root/launch/outcome.sh"

max_restarts=3 min_workers=1
while [[ ${1-} =~ ^--(max_restarts|min_workers)$ ]]; do
  [[ ${2-} =~ ^[0-9]+$ ]] || fail "$1 is a number, but ${2:-nothing} was given: see the first lines of $0."
  declare "${1#--}=$2"
  shift 2
done
find_train_dir "$@"

# One rank is told; all stop together. What names it comes from a file: it must be a host and a process.
signal_rank() {
  local host pid
  host=$(outcome host) pid=$(outcome pid)
  [[ $host =~ ^[[:alnum:]][[:alnum:]._-]*$ && $pid =~ ^[0-9]+$ ]] || return
  if [ "$host" = "$(hostname)" ]; then kill -USR1 "$pid"; else ssh -n "$host" kill -USR1 "$pid"; fi
}

hosts=$HOSTS
for ((restarts = 0; ; restarts++)); do
  choose_launcher "$hosts"
  [ "$processes" -ge "$min_workers" ] || fail "At least $min_workers workers are asked for, but $processes are left: the run in $train_dir can go on later."
  command=("${launcher[@]}" "$root/.venv/bin/shardtune" train "$@")
  if [ -n "$dry_run" ]; then
    show "${command[@]}"
    exit
  fi
  supervise "${command[@]}"
  case $became in
    finished) exit 0 ;;
    stopped) exit 75 ;;
    failed) fail "The run in $train_dir has failed: $(outcome error)" ;;
    refused)
      [ "$restarts" -gt 0 ] || exit "$status"
      sleep 60 # a host that is gone may hold the run for a while
      ;;
  esac
  [ "$restarts" -lt "$max_restarts" ] || fail "A run is started again at most $max_restarts times, but the one in $train_dir was lost once more: see its logs."
  [ -z "$HOSTS" ] || find_answering "$HOSTS"
  say "A worker was lost: going on from the last checkpoint in $train_dir${hosts:+ on $hosts} (restart $((restarts + 1)) of $max_restarts)."
done
