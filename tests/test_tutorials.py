"""The commands of the tutorials of 2016, as typed there: README.md of research/inception in tensorflow/models, by its sections.

bazel-bin/inception/NAME is a command of shardtune now, and what a test adds to it stands in the test. Left out is what built
the programs (bazel), and what needs an account (download_and_preprocess_imagenet).
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.download.reference import flower_photos, inception_v3
from tests.download.server import serving
from tests.launching import finish, start

COMMANDS = {
    "download_and_preprocess_flowers": "fetch flowers",
    "build_image_data": "build",
    "flowers_train": "train",
    "imagenet_train": "train",
    "imagenet_distributed_train": "train",
    "flowers_eval": "eval",
    "imagenet_eval": "eval",
}
FINE_TUNING = r"""
FLOWERS_DATA_DIR=/tmp/flowers-data/
bazel-bin/inception/download_and_preprocess_flowers "${FLOWERS_DATA_DIR}"

INCEPTION_MODEL_DIR=$HOME/inception-v3-model
mkdir -p ${INCEPTION_MODEL_DIR}
cd ${INCEPTION_MODEL_DIR}
curl -O http://download.tensorflow.org/models/image/imagenet/inception-v3-2016-03-01.tar.gz
tar xzf inception-v3-2016-03-01.tar.gz

MODEL_PATH="${INCEPTION_MODEL_DIR}/inception-v3/model.ckpt-157585"
FLOWERS_DATA_DIR=/tmp/flowers-data/
TRAIN_DIR=/tmp/flowers_train/
bazel-bin/inception/flowers_train \
  --train_dir="${TRAIN_DIR}" \
  --data_dir="${FLOWERS_DATA_DIR}" \
  --pretrained_model_checkpoint_path="${MODEL_PATH}" \
  --fine_tune=True \
  --initial_learning_rate=0.001 \
  --input_queue_memory_factor=1

TRAIN_DIR=/tmp/flowers_train/
FLOWERS_DATA_DIR=/tmp/flowers-data/
EVAL_DIR=/tmp/flowers_eval/
bazel-bin/inception/flowers_eval \
  --eval_dir="${EVAL_DIR}" \
  --data_dir="${FLOWERS_DATA_DIR}" \
  --subset=validation \
  --num_examples=500 \
  --checkpoint_dir="${TRAIN_DIR}" \
  --input_queue_memory_factor=1 \
  --run_once
"""
NEW_DATASET = r"""
OUTPUT_DIRECTORY=$HOME/my-custom-data/
bazel-bin/inception/build_image_data \
  --train_directory="${TRAIN_DIR}" \
  --validation_directory="${VALIDATION_DIR}" \
  --output_directory="${OUTPUT_DIRECTORY}" \
  --labels_file="${LABELS_FILE}" \
  --train_shards=128 \
  --validation_shards=24 \
  --num_threads=8
"""
FROM_SCRATCH = r"""
bazel-bin/inception/imagenet_train --num_gpus=1 --batch_size=32 --train_dir=/tmp/imagenet_train --data_dir=/tmp/imagenet_data
bazel-bin/inception/imagenet_eval --checkpoint_dir=/tmp/imagenet_train --eval_dir=/tmp/imagenet_eval
"""
SEVERAL_GPUS = "bazel-bin/inception/imagenet_train --num_gpus=2 --batch_size=64 --train_dir=/tmp/imagenet_train"
WORKER = r"""
bazel-bin/inception/imagenet_distributed_train \
--batch_size=32 \
--data_dir=$HOME/imagenet-data \
--job_name='worker' \
--task_id=0 \
--ps_hosts='ps0.example.com:2222' \
--worker_hosts='worker0.example.com:2222,worker1.example.com:2222'
"""
PARAMETER_SERVER = r"""
CUDA_VISIBLE_DEVICES='' bazel-bin/inception/imagenet_distributed_train \
--job_name='ps' \
--task_id=0 \
--ps_hosts='ps0.example.com:2222' \
--worker_hosts='worker0.example.com:2222,worker1.example.com:2222'
"""
LAUNCHER = "--num_gpus=2 is not possible: .* put a launcher in front: horovodrun -np 2 shardtune train …, or launch/train.sh "
HOSTS = "--job_name={} is not possible: .* start all workers at once: HOSTS=a:4,b:4 launch/train.sh … for 4 GPUs on each "
RESULT = re.compile(r": precision @ 1 = (0\.\d{4}) recall @ 5 = [01]\.\d{4} \[150 examples\]$", re.MULTILINE)


def now(page: str, tmp: Path, added: Mapping[str, str] = {}) -> str:
    """What one types today: its commands with what is `added` to them, by their names of 2016, and another folder for /tmp."""

    def command(match: re.Match[str]) -> str:
        return f"shardtune {COMMANDS[match[1]]}{match[2]} {added.get(match[1], '')}"

    return re.sub(r"bazel-bin/inception/(\w+)((?:\\\n|.)*)", command, page.replace("/tmp/", f"{tmp}/"))


def follow(script: str, home: Path, variables: Mapping[str, object] = {}) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "no_proxy": "127.0.0.1", **{name: str(value) for name, value in variables.items()}}
    return finish(start(["bash", "-euc", script], environment=environment), 7000)


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=[pytest.mark.exhaustive, pytest.mark.timeout(7200)])])
def test_the_pages(shared_data: Path, tmp_path: Path, is_whole: bool) -> None:
    if not shutil.which("curl"):
        pytest.skip("the tutorial downloads the weights with curl, which is missing here")
    photographs = shared_data / "flowers"
    short = "--image_size=75 --max_steps=2"
    with serving(flower_photos(shared_data)) as flowers, serving(inception_v3(shared_data)) as weights:
        added = {
            "download_and_preprocess_flowers": f"--url {flowers.url()} --validation_examples=150 "  # 650 photographs, not 3,670
            f"--sha256 {hashlib.sha256(flowers.content).hexdigest()}",
            # 2016 trained until it was stopped. 10 epochs, the default now, are 156 steps here: too few at this learning rate.
            "flowers_train": "--max_steps=500" if is_whole else short,
            "imagenet_train": "--max_steps=2" if is_whole else short,  # ImageNet takes weeks
        }
        page = FINE_TUNING.replace("http://download.tensorflow.org/models/image/imagenet", weights.address)
        done = follow(now(page, tmp_path, added), tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Finished writing all 500 images in data set.\n" in done.stdout
    assert len([*(tmp_path / "flowers-data").glob("train-?????-of-00002")]) == 2
    assert re.search(r"^Successfully loaded model from .* at step=\d+\.$", done.stdout, re.MULTILINE)
    assert float(RESULT.findall(done.stdout)[-1]) >= (0.88 if is_whole else 0)

    folders = {"TRAIN_DIR": photographs / "train", "VALIDATION_DIR": photographs / "validation"}
    done = follow(now(NEW_DATASET, tmp_path), tmp_path, {**folders, "LABELS_FILE": photographs / "labels.txt"})
    assert done.returncode == 0, done.stdout
    data = tmp_path / "my-custom-data"
    assert [len([*data.glob(name)]) for name in ("train-?????-of-00128", "validation-?????-of-00024")] == [128, 24]

    data.rename(tmp_path / "imagenet_data")
    done = follow(now(FROM_SCRATCH, tmp_path, added), tmp_path)
    assert done.returncode == 0, done.stdout
    assert "for 2 steps of 32 " in done.stdout
    assert RESULT.search(done.stdout)


@pytest.mark.parametrize(
    ("page", "message"),
    [(SEVERAL_GPUS, LAUNCHER), (WORKER, HOSTS.format("worker")), (PARAMETER_SERVER, HOSTS.format("ps"))],
)
def test_commands_that_are_replaced_say_by_what(tmp_path: Path, page: str, message: str) -> None:
    done = follow(now(page, tmp_path), tmp_path)
    assert done.returncode == 2
    assert re.match(f"shardtune: {message}", done.stdout)
    assert [*tmp_path.iterdir()] == []
