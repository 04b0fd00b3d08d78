#!/usr/bin/env bash
# Build, train, evaluate, report and export, on every core and GPU of this machine, or of several.
#
#   launch/all.sh [--dry_run] PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]
#
# PHOTOS_DIR has one folder per class, or train/ and validation/ with one folder per class in each.
# Run again, it resumes where it stopped. HOSTS, INTERFACE, WORKERS and RANKS are those of the scripts that it calls.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch=$root/launch dry=()
while [[ ${1-} == --dry_run ]]; do dry=("$1") && shift; done
if [ $# -lt 2 ]; then
  echo "all.sh: PHOTOS_DIR or OUTPUT_DIR is missing. Type launch/all.sh PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]." >&2
  exit 1
fi
if [[ " ${*:3} " == *" --dry_run "* ]]; then
  echo "all.sh: --dry_run stands after the folders. Type launch/all.sh --dry_run PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]." >&2
  exit 1
fi
images=(--train_directory "$1" --validation_fraction 0.2)
if [ -d "$1/train" ] && [ -d "$1/validation" ]; then
  images=(--train_directory "$1/train" --validation_directory "$1/validation")
fi

# Leaves the data set in OUTPUT_DIR/data.
"$launch/build.sh" "${dry[@]}" "${images[@]}" --output_directory "$2/data"
# Leaves checkpoints, metrics.jsonl and outcome.json in OUTPUT_DIR/run.
"$launch/train.sh" "${dry[@]}" --data_dir "$2/data" --train_dir "$2/run" "${@:3}"
# Leaves eval.json in OUTPUT_DIR/run.
"$launch/eval.sh" "${dry[@]}" --data_dir "$2/data" --checkpoint_dir "$2/run" --eval_dir "$2/run"
# Leaves report.html, and README.md, the model card, in OUTPUT_DIR/run.
shardtune supervise "${dry[@]}" -- shardtune report --train_dir "$2/run"
# Leaves the model, and how to run it, in OUTPUT_DIR/export.
shardtune supervise "${dry[@]}" -- shardtune export --checkpoint_dir "$2/run" --output_directory "$2/export" --overwrite
