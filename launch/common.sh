# shellcheck shell=bash
# What the scripts beside this one share: they source it, with their own arguments.
#
#   HOSTS=a:4,b:4    machines to use over ssh, with how many processes on each; they share this folder and the data
#   INTERFACE=eth0   the network interface between them, where they have several
#   --dry_run        (first argument) print the command, and run nothing
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift
fi
[ -x "$root/.venv/bin/shardtune" ] || fail "Commands are run from .venv, but $root has none: run launch/setup.sh first."
PATH=$root/.venv/bin:$PATH
HOSTS=${HOSTS:-} INTERFACE=${INTERFACE:-}
gpus=$(nvidia-smi -L 2>/dev/null | wc -l || true)
# On cores alone a rank that waits for the others must leave them the core.
[ "$gpus" -gt 0 ] || export OMPI_MCA_mpi_yield_when_idle=1

# Processes on all of "a:4,b:4".
processes_on() {
  local host total=0
  for host in ${1//,/ }; do
    [[ $host =~ ^[^:]+:[1-9][0-9]*$ ]] || fail "HOSTS is a list like a:4,b:4, but it has $host: give each host its number of processes."
    total=$((total + ${host##*:}))
  done
  echo "$total"
}

# The words in front of a Horovod command: on the machines of "a:4,b:4", or on this one if there are none.
# Sets `workers` and `launcher`.
# shellcheck disable=SC2034
horovod_on() {
  if [ -n "$1" ]; then
    workers=$(processes_on "$1")
    launcher=(horovodrun --gloo -np "$workers" -H "$1" ${INTERFACE:+--network-interfaces "$INTERFACE"})
  else
    workers=${WORKERS:-$((gpus > 0 ? gpus : 1))}
    launcher=(horovodrun -np "$workers")
  fi
}

run() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@" | sed 's/ $/\n/'
  else
    "$@"
  fi
}
