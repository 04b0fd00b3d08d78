#!/usr/bin/env bash
# The tutorial of research/inception as one command, on every core and GPU of this machine, or of several: fetch photographs of five
# kinds of flowers and the weights of 2016, build a data set, fine-tune and evaluate.
#
#   launch/flowers.sh [--dry_run] [DIR] [TRAIN FLAGS]               DIR is demo/flowers if none is given
#
#   FLOWERS_OPTIONS="--url MIRROR/flower_photos.tgz"                options of shardtune fetch: mirrors, or paths of files
#   WEIGHTS_OPTIONS="--url MIRROR/inception-v3-2016-03-01.tar.gz"
#
# TRAIN FLAGS override the recipe. Run again, it resumes where it stopped. HOSTS, INTERFACE, WORKERS and RANKS are those
# of build.sh and train.sh.
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
launch=$root/launch dry=() out=demo/flowers
while [[ ${1-} == --dry_run ]]; do dry=("$1") && shift; done
if [[ ${1--} != -* ]]; then out=${1:?DIR is empty} && shift; fi
read -ra flowers_options <<<"${FLOWERS_OPTIONS:-}"
read -ra weights_options <<<"${WEIGHTS_OPTIONS:-}"
workers=$("$launch/train.sh" --dry_run --train_dir run | sed 's/.* -np \([0-9]*\) .*/\1/')
# Steps of 32 images on any number of workers, or of the next multiple of their number.
recipe=(--batch_size $(((31 + workers) / workers)) --lr_scaling none --fine_tune --initial_learning_rate 0.01 --max_steps 500
  --precision mixed_bfloat16)

# Leaves the photographs and the data set in DIR/data.
shardtune supervise "${dry[@]}" "${options[@]}" ${RANKS:+--workers "$RANKS"} -- \
  shardtune fetch flowers "$out/data" "${flowers_options[@]}"
# Leaves model.ckpt-157585 in DIR/inception-v3.
shardtune supervise "${dry[@]}" --workers 1 -- shardtune fetch inception-v3 "$out" "${weights_options[@]}"
# Leaves checkpoints, metrics.jsonl and outcome.json in DIR/run.
"$launch/train.sh" "${dry[@]}" --data_dir "$out/data" --train_dir "$out/run" \
  --pretrained_model_checkpoint_path "$out/inception-v3/model.ckpt-157585" "${recipe[@]}" "$@"
# Leaves eval.json in DIR/run. The last checkpoint: the best by validation was chosen on the images that are evaluated.
"$launch/eval.sh" "${dry[@]}" --data_dir "$out/data" --checkpoint_dir "$out/run" --eval_dir "$out/run" --checkpoint last
