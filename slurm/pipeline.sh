#!/usr/bin/env bash
# Submit building, training, evaluating and reporting as four jobs, each to start when the one before has succeeded.
#
#   slurm/pipeline.sh [--dry_run] PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]
#
#   BUILD_OPTIONS="--partition=cpu --ntasks=64"       options of sbatch for each job
#   TRAIN_OPTIONS="--partition=gpu --nodes=1 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8 --mem=0"
#   EVAL_OPTIONS="--partition=gpu --gpus-per-node=1"
#   REPORT_OPTIONS="--partition=cpu"
#   SEEDS=0-2                                         a run for each of these seeds
#
# PHOTOS_DIR has one folder per class, or train/ and validation/ with one folder per class in each.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../launch/common.sh"
if [[ ${1-} == --dry_run ]]; then
  shift
  sbatch() { shardtune supervise --dry_run -- sbatch "$@" >&2 && echo JOB; } # JOB in place of the number that SLURM gives
fi
if [ $# -lt 2 ]; then
  echo "pipeline.sh: PHOTOS_DIR or OUTPUT_DIR is missing. Type slurm/pipeline.sh PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]." >&2
  exit 1
fi
if [[ " ${*:3} " == *" --dry_run "* ]]; then
  echo "pipeline.sh: --dry_run stands after the folders. Type slurm/pipeline.sh --dry_run PHOTOS_DIR OUTPUT_DIR [TRAIN FLAGS]." >&2
  exit 1
fi
photos=$(realpath "$1") out=$(realpath -m "$2")
shift 2
cd "$root"
images=(--train_directory "$photos" --validation_fraction 0.2)
if [ -d "$photos/train" ] && [ -d "$photos/validation" ]; then
  images=(--train_directory "$photos/train" --validation_directory "$photos/validation")
fi
read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra train_options <<<"${TRAIN_OPTIONS:-}"
read -ra eval_options <<<"${EVAL_OPTIONS:-}"
read -ra report_options <<<"${REPORT_OPTIONS:-}"
run=$out/run export=$out/export after=afterok
if [ -n "${SEEDS:-}" ]; then
  run=$out/run-%a export=$out/export-%a after=aftercorr # each evaluation after its own run
  train_options+=("--array=$SEEDS") eval_options+=("--array=$SEEDS") report_options+=("--array=$SEEDS")
  set -- --seed %a "$@"
fi
submit=(sbatch --parsable --kill-on-invalid-dep=yes)

# Leaves the data set in OUTPUT_DIR/data.
build=$("${submit[@]}" "${build_options[@]}" slurm/build.sbatch "${images[@]}" --output_directory "$out/data")
# Leaves checkpoints, metrics.jsonl and outcome.json in OUTPUT_DIR/run, or in OUTPUT_DIR/run-SEED for each of the seeds.
train=$("${submit[@]}" --dependency="afterok:$build" "${train_options[@]}" slurm/train.sbatch --data_dir "$out/data" --train_dir "$run" "$@")
# Leaves eval.json in the same directory.
eval=$("${submit[@]}" --dependency="$after:$train" "${eval_options[@]}" slurm/eval.sbatch --data_dir "$out/data" --checkpoint_dir "$run" --eval_dir "$run")
# Leaves report.html, and README.md, the model card, there too, and the model in OUTPUT_DIR/export, or in export-SEED.
report=$("${submit[@]}" --dependency="$after:$eval" "${report_options[@]}" slurm/report.sbatch "$run" "$export")
[ "$build" = JOB ] || cat <<EOF
build $build, train $train, eval $eval, report $report
watch:   squeue --jobs $build,$train,$eval,$report; tail -F shardtune-*.log
cancel:  scancel $build $train $eval $report
then:    $run/report.html, $export/README.md
EOF
