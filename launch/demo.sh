#!/usr/bin/env bash
# From images to a fine-tuned, evaluated Inception v3, on this machine.
#
#   launch/demo.sh                                    handwritten digits, 75 pixels, from random weights
#   launch/demo.sh PHOTOS_DIR [PRETRAINED_CHECKPOINT] your photographs, 299 pixels
#
# PHOTOS_DIR has one folder per class, or train/ and validation/ with one folder per class in each.
# PRETRAINED_CHECKPOINT is the model.ckpt-157585 of inception-v3-2016-03-01.
# Run again, it resumes where it stopped. Everything is written to demo/.
set -euo pipefail
[ $# -le 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
photos=${1:+$(realpath -- "$1")}
checkpoint=${2:+$(realpath -- "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash launch/setup.sh
# shellcheck source=launch/common.sh
source launch/common.sh
export WORKERS=2 TF_CPP_MIN_LOG_LEVEL=3
gpus=$(python -c 'import os; from shardtune.supervise.machine import LocalMachine; print(LocalMachine(os.environ).count_gpus())')
[ "$gpus" != 1 ] || WORKERS=1 # one GPU, one worker

if [ -z "$photos" ]; then
  out=demo/digits
  photos=$out/images
  [ -d $photos ] || python launch/digits.py $photos
  # A digit is whole and upright, and must not be cropped or flipped.
  train=(--image_size 75 --augment none --epochs 12 --batch_size 32 --optimizer adam --initial_learning_rate 0.001)
else
  out=demo/$(basename "$photos")-$(cksum <<<"$photos $checkpoint" | cut -d' ' -f1)
  if [ -n "$checkpoint" ]; then
    # What a small data set cannot improve on stays as it was learnt on ImageNet.
    train=(--pretrained_model_checkpoint_path "$checkpoint" --fine_tune --freeze_until mixed8 --batch_size 16
      --initial_learning_rate 0.005)
  else
    echo "demo: no pretrained checkpoint is given, so this trains from random weights: expect little of few photographs"
    train=(--batch_size 16 --optimizer adam --initial_learning_rate 0.0005)
  fi
fi

images=(--train_directory "$photos" --validation_fraction 0.2)
if [ -d "$photos/train" ] && [ -d "$photos/validation" ]; then
  images=(--train_directory "$photos/train" --validation_directory "$photos/validation")
fi
# Leaves the data set in data.
RANKS=2 launch/build.sh "${images[@]}" --output_directory "$out/data" --train_shards 8 --validation_shards 2
# horovodrun marks each line with its rank; here only rank 0 prints. After Ctrl-C train.sh still has something to print.
unmarked() { (trap '' INT && exec sed -u 's/^\[1,0\]<std...>://'); }
# Leaves checkpoints, metrics.jsonl and outcome.json in run.
launch/train.sh --data_dir "$out/data" --train_dir "$out/run" --validate_epochs 0 "${train[@]}" | unmarked
# Leaves eval.json in run.
launch/eval.sh --data_dir "$out/data" --checkpoint_dir "$out/run" --eval_dir "$out/run" | unmarked
# Leaves report.html, and README.md, the model card, in run.
shardtune report --train_dir "$out/run"
# Leaves the model, and how to run it, in export.
shardtune export --checkpoint_dir "$out/run" --output_directory "$out/export" --overwrite

python - "$out" <<'PYTHON'
import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
result = json.loads((out / "run/eval.json").read_text())
outcome = json.loads((out / "run/outcome.json").read_text())
print(f"""
precision@1      {result["precision_at_1"]:.4f}   on {result["examples"]} images that training never saw
recall@5         {result["recall_at_5"]:.4f}
images/s         {outcome["images_per_second"]:.1f} in training, {result["images_per_second"]:.1f} in evaluation
data set         {out}/data/dataset.json
checkpoints      {out}/run/checkpoints
results          {out}/run/eval.json  {out}/run/metrics.jsonl
report           {out}/run/report.html
model            {out}/export""")
PYTHON
