#!/usr/bin/env bash
# Build a data set on every core of this machine, or of several.
#
#   launch/build.sh [--dry_run] BUILD FLAGS                       one rank a core (RANKS=4: so many)
#   HOSTS=a:16,b:16 launch/build.sh [--dry_run] BUILD FLAGS       over ssh, with Open MPI: see launch/common.sh
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -n "$HOSTS" ]; then
  count_processes "$HOSTS"
  where=(-n "$processes" -H "$HOSTS")
  [ -z "$INTERFACE" ] || where+=(--mca btl_tcp_if_include "$INTERFACE" --mca oob_tcp_if_include "$INTERFACE")
else
  cores=$(lscpu -p=core,socket | grep -v '^#' | sort -u | wc -l) # not counting what shares a core
  where=(-n "${RANKS:-$((cores < $(nproc) ? cores : $(nproc)))}")
fi
# By its whole path mpirun starts the same MPI on other hosts.
run "$(command -v mpirun)" "${where[@]}" "$root/.venv/bin/shardtune" build "$@"
