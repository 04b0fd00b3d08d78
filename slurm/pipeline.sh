#!/usr/bin/env bash
# Submit building, training and evaluating as three jobs, each to start when the one before has succeeded.
#
#   slurm/pipeline.sh [--dry_run] PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]
#
#   BUILD_OPTIONS="--partition=cpu --ntasks=64"                   options of sbatch for each job
#   TRAIN_OPTIONS="--partition=gpu --ntasks=8 --gpus-per-task=1"
#   EVAL_OPTIONS="--partition=gpu --gpus-per-task=1"
#   SEEDS=0-2                                                     a run for each of these seeds
#
# PHOTOS_DIR has one folder a class, or train/ and validation/ with one folder a class in each.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
[ $# -ge 2 ] || fail "Photographs come from one directory and results go to another, but $# were given: slurm/pipeline.sh PHOTOS_DIR OUTPUT_DIR."
choose_images "$(realpath "$1")"
out=$(realpath -m "$2")
shift 2
cd "$root"

read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra train_options <<<"${TRAIN_OPTIONS:-}"
read -ra eval_options <<<"${EVAL_OPTIONS:-}"
run_dir=$out/run after=afterok
if [ -n "${SEEDS:-}" ]; then
  run_dir=$out/run-%a after=aftercorr # each evaluation after its own run
  train_options+=("--array=$SEEDS") eval_options+=("--array=$SEEDS")
  set -- --seed %a "$@"
fi
submit() {
  if [ -n "$dry_run" ]; then
    show sbatch "$@" >&2
    echo JOB
  else
    sbatch --parsable --kill-on-invalid-dep=yes "$@"
  fi
}

build=$(submit "${build_options[@]}" slurm/build.sbatch "${images[@]}" --output_directory "$out/data")
train=$(submit --dependency="afterok:$build" "${train_options[@]}" slurm/train.sbatch --data_dir "$out/data" --train_dir "$run_dir" "$@")
eval=$(submit --dependency="$after:$train" "${eval_options[@]}" slurm/eval.sbatch --data_dir "$out/data" --checkpoint_dir "$run_dir" --eval_dir "$run_dir")
[ -n "$dry_run" ] || cat <<EOF
build $build, train $train, eval $eval
watch:   squeue --jobs $build,$train,$eval; tail -F shardtune-*.log
cancel:  scancel $build $train $eval
EOF
