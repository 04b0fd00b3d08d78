"""What each script would run, whole."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.outputs import check_shown

BUILD = "{root}/.venv/bin/shardtune build --train_directory photos --validation_fraction 0.2 --output_directory out/data"
TRAIN = "{root}/.venv/bin/shardtune train --data_dir out/data --train_dir out/run --epochs 3"
EVAL = "{root}/.venv/bin/shardtune eval --data_dir out/data --checkpoint_dir out/run --eval_dir out/run"
REPORT = [
    "{root}/.venv/bin/shardtune report --train_dir out/run",
    "{root}/.venv/bin/shardtune export --checkpoint_dir out/run --output_directory out/export --overwrite",
]
FETCH = "{root}/.venv/bin/shardtune fetch"
TUTORIAL = (
    "{root}/.venv/bin/shardtune train --data_dir out/data --train_dir out/run "
    "--pretrained_model_checkpoint_path out/inception-v3/model.ckpt-157585"
)
RECIPE = "--lr_scaling none --fine_tune --initial_learning_rate 0.01 --max_steps 500 --precision mixed_bfloat16"
SBATCH = "sbatch --parsable --kill-on-invalid-dep=yes"
TWO_HOSTS = "horovodrun --gloo -np 7 -H a:4,b:3 --network-interfaces eth0"
CASES = [
    pytest.param(
        {"RANKS": "3"},
        ["launch/build.sh", "--dry_run", "--train_directory", "the photos"],
        ["{mpirun} -n 3 {root}/.venv/bin/shardtune build --train_directory 'the photos'"],
        id="build",
    ),
    pytest.param(
        {"HOSTS": "a:4,b:3"},
        ["launch/build.sh", "--dry_run"],
        ["{mpirun} -n 7 -H a:4,b:3 {root}/.venv/bin/shardtune build"],
        id="build-hosts",
    ),
    pytest.param(
        {},
        ["launch/train.sh", "--dry_run", "--max_restarts", "2", "--min_workers", "1", "--train_dir=run"],
        ["horovodrun -np 1 {root}/.venv/bin/shardtune train --train_dir=run"],
        id="train-cores",
    ),
    pytest.param(
        {"GPUS": "8"},
        ["launch/train.sh", "--dry_run", "--train-dir", "run"],
        ["horovodrun -np 8 {root}/.venv/bin/shardtune train --train-dir run"],
        id="train-gpus",
    ),
    pytest.param(
        {"GPUS": "8", "CUDA_VISIBLE_DEVICES": "0,3"},
        ["launch/train.sh", "--dry_run", "--train-dir", "run"],
        ["horovodrun -np 2 {root}/.venv/bin/shardtune train --train-dir run"],
        id="train-two-of-the-gpus",
    ),
    pytest.param(
        {"GPUS": "8", "CUDA_VISIBLE_DEVICES": ""},
        ["launch/eval.sh", "--dry_run", "--eval_dir", "run"],
        ["horovodrun -np 1 {root}/.venv/bin/shardtune eval --eval_dir run"],
        id="eval-hidden-gpus",
    ),
    pytest.param(
        {"GPUS": "8", "WORKERS": "2"},
        ["launch/eval.sh", "--dry_run", "--eval_dir", "run"],
        ["horovodrun -np 2 {root}/.venv/bin/shardtune eval --eval_dir run"],
        id="eval",
    ),
    pytest.param(
        {"RANKS": "4", "WORKERS": "2"},
        ["launch/all.sh", "--dry_run", "photos", "out", "--epochs", "3"],
        [f"{{mpirun}} -n 4 {BUILD}", f"horovodrun -np 2 {TRAIN}", f"horovodrun -np 2 {EVAL}", *REPORT],
        id="all",
    ),
    pytest.param(
        {"HOSTS": "a:4,b:3", "INTERFACE": "eth0"},
        ["launch/all.sh", "--dry_run", "photos", "out", "--epochs", "3"],
        [
            f"{{mpirun}} -n 7 -H a:4,b:3 --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 {BUILD}",
            f"{TWO_HOSTS} {TRAIN}",
            f"{TWO_HOSTS} {EVAL}",
            *REPORT,
        ],
        id="all-hosts",
    ),
    pytest.param(
        {"GPUS": "5", "RANKS": "4", "FLOWERS_OPTIONS": "--url a.tgz --sha256 b", "WEIGHTS_OPTIONS": "--url c"},
        ["launch/flowers.sh", "--dry_run", "out", "--max_steps", "9"],
        [
            f"{{mpirun}} -n 4 {FETCH} flowers out/data --url a.tgz --sha256 b",
            f"{{mpirun}} -n 1 {FETCH} inception-v3 out --url c",
            f"horovodrun -np 5 {TUTORIAL} --batch_size 7 {RECIPE} --max_steps 9",
            f"horovodrun -np 5 {EVAL} --checkpoint last",
        ],
        id="flowers",
    ),
    pytest.param(
        {"HOSTS": "a:4,b:3"},
        ["launch/flowers.sh", "--dry_run"],
        [
            f"{{mpirun}} -n 7 -H a:4,b:3 {FETCH} flowers demo/flowers/data",
            f"{{mpirun}} -n 1 {FETCH} inception-v3 demo/flowers",
            f"horovodrun --gloo -np 7 -H a:4,b:3 {TUTORIAL} --batch_size 5 {RECIPE}".replace("out/", "demo/flowers/"),
            f"horovodrun --gloo -np 7 -H a:4,b:3 {EVAL} --checkpoint last".replace("out/", "demo/flowers/"),
        ],
        id="flowers-hosts",
    ),
    pytest.param(
        {
            "BUILD_OPTIONS": "--ntasks=64",
            "TRAIN_OPTIONS": "--partition=gpu --ntasks=8",
            "EVAL_OPTIONS": "--partition=gpu",
            "REPORT_OPTIONS": "--mem=8G",
        },
        ["slurm/pipeline.sh", "--dry_run", "/split", "/out", "--epochs", "3"],
        [
            f"{SBATCH} --ntasks=64 slurm/build.sbatch --train_directory /split --validation_fraction 0.2 "
            "--output_directory /out/data",
            f"{SBATCH} --dependency=afterok:JOB --partition=gpu --ntasks=8 slurm/train.sbatch --data_dir /out/data "
            "--train_dir /out/run --epochs 3",
            f"{SBATCH} --dependency=afterok:JOB --partition=gpu slurm/eval.sbatch --data_dir /out/data "
            "--checkpoint_dir /out/run --eval_dir /out/run",
            f"{SBATCH} --dependency=afterok:JOB --mem=8G slurm/report.sbatch /out/run /out/export",
        ],
        id="pipeline",
    ),
    pytest.param(
        {"SEEDS": "0-2"},
        ["slurm/pipeline.sh", "--dry_run", "{split}", "/out"],
        [
            f"{SBATCH} slurm/build.sbatch --train_directory {{split}}/train --validation_directory {{split}}/validation "
            "--output_directory /out/data",
            f"{SBATCH} --dependency=afterok:JOB --array=0-2 slurm/train.sbatch --data_dir /out/data --train_dir /out/run-%a "
            "--seed %a",
            f"{SBATCH} --dependency=aftercorr:JOB --array=0-2 slurm/eval.sbatch --data_dir /out/data "
            "--checkpoint_dir /out/run-%a --eval_dir /out/run-%a",
            f"{SBATCH} --dependency=aftercorr:JOB --array=0-2 slurm/report.sbatch /out/run-%a /out/export-%a",
        ],
        id="pipeline-seeds",
    ),
]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs that a dry run asks, or names: an mpirun, and an nvidia-smi that sees $GPUS GPUs."""
    (tmp_path / "tools").mkdir()
    for name, lines in (("mpirun", ""), ("nvidia-smi", 'for i in $(seq "${GPUS:-0}"); do echo "GPU $i: one"; done\n')):
        (tmp_path / "tools" / name).write_text(f"#!/bin/sh\n{lines}")
        (tmp_path / "tools" / name).chmod(0o755)
    return tmp_path / "tools"


def dry(scripts: Path, tools: Path, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    plain = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
    return subprocess.run(
        words,
        cwd=scripts,
        env={**plain, "PATH": f"{tools}:/usr/bin:/bin", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("environment", "words", "shown"), CASES)
def test_the_commands(
    scripts: Path, tools: Path, tmp_path: Path, environment: dict[str, str], words: list[str], shown: list[str]
) -> None:
    names = {"root": scripts, "mpirun": tools / "mpirun", "split": tmp_path / "split"}
    for split in ("train", "validation"):
        (tmp_path / "split" / split).mkdir(parents=True)
    done = dry(scripts, tools, [word.format_map(names) for word in words], environment)
    assert (done.returncode, done.stdout.splitlines()) == (0, [line.format_map(names) for line in shown])


def test_the_page_shows_such_a_command(scripts: Path, tools: Path) -> None:
    (typed,) = (text for _, text in blocks(ROOT / "docs/several-gpus.md") if text.startswith("WORKERS=4 launch/train.sh"))
    done = dry(scripts, tools, ["bash", "-c", typed], {})
    check_shown("docs/several-gpus.md", "horovodrun -np 4", done.stdout, scripts)


@pytest.mark.parametrize(
    ("environment", "words", "message"),
    [
        ({"HOSTS": "a:4,b"}, ["launch/build.sh"], "shardtune: 'b' in the list of hosts is not HOST:PROCESSES. Write the list "),
        (
            {},
            ["launch/train.sh", "--epochs", "3"],
            "shardtune: The training command has no --train_dir. Name the directory of ",
        ),
        ({}, ["launch/train.sh", "--max_restarts", "x"], "shardtune: Error parsing --max_restarts: invalid literal for int() "),
        ({}, ["launch/all.sh", "photos"], "all.sh: PHOTOS_DIR or OUTPUT_DIR is missing. Type launch/all.sh PHOTOS_DIR "),
        ({}, ["launch/all.sh", "photos", "results", "--dry_run"], "all.sh: --dry_run stands after the folders. Type "),
        ({}, ["slurm/pipeline.sh", "photos", "results", "--dry_run"], "pipeline.sh: --dry_run stands after the folders. Type "),
        ({}, ["slurm/pipeline.sh"], "pipeline.sh: PHOTOS_DIR or OUTPUT_DIR is missing. Type slurm/pipeline.sh PHOTOS_DIR "),
    ],
)
def test_wrong_input_is_reported_in_one_line(
    scripts: Path, tools: Path, environment: dict[str, str], words: list[str], message: str
) -> None:
    done = dry(scripts, tools, words, environment)
    assert done.returncode in (1, 2)
    assert done.stdout.startswith(message)
    assert done.stdout.count("\n") == 1


def test_without_an_environment_they_say_what_to_run(scripts: Path, tools: Path, tmp_path: Path) -> None:
    shutil.copytree(scripts / "launch", tmp_path / "launch")
    done = dry(tmp_path, tools, ["launch/build.sh"], {})
    assert done.returncode == 1
    assert done.stdout == f"build.sh: {tmp_path}/.venv does not exist. Run launch/setup.sh first.\n"
