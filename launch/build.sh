#!/usr/bin/env bash
# Build a data set on every core of this machine, or of several.
#
#   launch/build.sh [--dry_run] BUILD FLAGS                       one rank per core (RANKS=4: four)
#   HOSTS=a:16,b:16 launch/build.sh [--dry_run] BUILD FLAGS       over ssh, with Open MPI: see launch/common.sh
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
while [[ ${1-} == --dry_run ]]; do options+=("$1") && shift; done

# Leaves shards, labels.txt and, when all is written, dataset.json in --output_directory.
exec shardtune supervise "${options[@]}" ${RANKS:+--workers "$RANKS"} -- shardtune build "$@"
