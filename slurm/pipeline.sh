#!/usr/bin/env bash
# Submit building, training and evaluating as three jobs, each after the one before has succeeded.
#
#   slurm/pipeline.sh [--dry_run] PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]
#
#   BUILD_OPTIONS="--partition=cpu --ntasks=64"                               options of sbatch for each job;
#   TRAIN_OPTIONS="--partition=gpu --ntasks=8 --gpus-per-task=1 --array=0-2"  --array: a run for each seed
#   EVAL_OPTIONS="--partition=gpu --gpus-per-task=1"
#
# PHOTOS_DIR has one folder a class, or train/ and validation/ with one folder a class in each.
set -euo pipefail
dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift
fi
[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
photos=$(realpath "$1") out=$(realpath "$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -d "$photos/train" ] && [ -d "$photos/validation" ]; then
  images=(--train_directory "$photos/train" --validation_directory "$photos/validation")
else
  images=(--train_directory "$photos" --validation_fraction 0.2)
fi
read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra train_options <<<"${TRAIN_OPTIONS:-}"
read -ra eval_options <<<"${EVAL_OPTIONS:-}"
submit() {
  if [ -n "$dry_run" ]; then
    printf '%q ' sbatch "$@" | sed 's/ $/\n/' >&2
    echo JOB
  else
    sbatch --parsable --kill-on-invalid-dep=yes "$@"
  fi
}

build=$(submit "${build_options[@]}" slurm/build.sbatch "${images[@]}" --output_directory "$out/data")
train=$(submit --dependency="afterok:$build" "${train_options[@]}" slurm/train.sbatch --data_dir "$out/data" --train_dir "$out/run" "$@")
eval=$(submit --dependency="afterok:$train" "${eval_options[@]}" slurm/eval.sbatch --data_dir "$out/data" --checkpoint_dir "$out/run" --eval_dir "$out/run")
cat <<EOF
build $build, train $train, eval $eval
watch:   squeue --jobs $build,$train,$eval; tail -F shardtune-*.log
cancel:  scancel $build $train $eval
EOF
