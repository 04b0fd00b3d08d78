#!/usr/bin/env bash
# The whole story: build, train, evaluate, on every core and GPU of this machine, or of several.
#
#   launch/all.sh [--dry_run] PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]
#
# PHOTOS_DIR has one folder a class, or train/ and validation/ with one folder a class in each.
# Run again it goes on where it stopped. HOSTS, WORKERS and RANKS are those of the scripts it calls.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -ge 2 ] || fail "Photographs come from one directory and results go to another, but $# were given: launch/all.sh PHOTOS_DIR OUTPUT_DIR."
choose_images "$1"
out=$2 launch=$root/launch dry=(${dry_run:+--dry_run})
shift 2

"$launch/build.sh" "${dry[@]}" "${images[@]}" --output_directory "$out/data"
"$launch/train.sh" "${dry[@]}" --data_dir "$out/data" --train_dir "$out/run" "$@"
"$launch/eval.sh" "${dry[@]}" --data_dir "$out/data" --checkpoint_dir "$out/run" --eval_dir "$out/run"
