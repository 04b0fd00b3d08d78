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
photos=$1 out=$2
shift 2
if [ -d "$photos/train" ] && [ -d "$photos/validation" ]; then
  images=(--train_directory "$photos/train" --validation_directory "$photos/validation")
else
  images=(--train_directory "$photos" --validation_fraction 0.2)
fi
launch=$root/launch dry=(${dry_run:+--dry_run})
"$launch/build.sh" "${dry[@]}" "${images[@]}" --output_directory "$out/data"
"$launch/train.sh" "${dry[@]}" --data_dir "$out/data" --train_dir "$out/run" "$@"
"$launch/eval.sh" "${dry[@]}" --data_dir "$out/data" --checkpoint_dir "$out/run" --eval_dir "$out/run"
