"""Commands started by a real srun."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shardtune.dataset.manifest import MANIFEST_NAME
from tests.launch.checkout import lay_out
from tests.records import contents
from tests.slurm.cluster import Cluster

# srun --mpi=pmix over both nodes would need two hosts: their PMIx servers would use the same names here.
TWO_TASKS = ("--nodes=1", "--ntasks=2")
SCRIPTS = ("train", "eval")
TASKS = {"--exclusive": 1, "--nodes=1 --ntasks-per-node=2": 2, "--nodes=1 --ntasks=2": 2}  # by the options of a job


def build(data: Path, images: Path) -> list[str]:
    arguments = {"train_directory": images / "train", "output_directory": data, "train_shards": 4}
    return [sys.executable, "-m", "shardtune", "build", *(f"--{name}={value}" for name, value in arguments.items())]


def test_tasks_that_pmix_joins_build_one_data_set(slurm: Cluster, small_images: Path, tmp_path: Path) -> None:
    joined = slurm.run("srun", "--mpi=pmix", *TWO_TASKS, *build(tmp_path / "joined", small_images))
    assert joined.returncode == 0, joined.stdout
    assert joined.stdout.count("Finished writing all 60 images in data set.") == 1
    alone = slurm.run("srun", "--ntasks=1", *build(tmp_path / "alone", small_images))
    assert alone.returncode == 0, alone.stdout
    assert contents(tmp_path / "joined") == contents(tmp_path / "alone")


def test_tasks_that_nothing_joins_say_what_to_type(slurm: Cluster, small_images: Path, tmp_path: Path) -> None:
    done = slurm.run("srun", "--mpi=none", *TWO_TASKS, *build(tmp_path / "data", small_images))
    assert done.returncode == 1
    output = [line for line in done.stdout.splitlines() if not line.startswith("srun: ")]
    assert len(output) == 2  # one sentence from each
    for line in output:
        assert re.fullmatch(r"shardtune: srun started 2 tasks without --mpi, .* Use srun --mpi=pmix.*", line)
    assert not (tmp_path / "data" / MANIFEST_NAME).exists()


def test_the_process_of_an_sbatch_script_is_alone(slurm: Cluster, small_images: Path, tmp_path: Path) -> None:
    command = " ".join(build(tmp_path / "data", small_images))
    job = ("sbatch", "--wait", "--ntasks=4", f"--output={tmp_path}/log", f"--wrap={command}")
    done = slurm.run(*job)
    assert done.returncode == 0, done.stdout + (tmp_path / "log").read_text()
    assert (tmp_path / "data" / MANIFEST_NAME).is_file()


@pytest.fixture(scope="module")
def logs(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What jobs with these scripts and options have printed: each waits for SLURM, so all do at the same time."""
    folder = lay_out(tmp_path_factory.mktemp("jobs") / "checkout", "small")
    (folder / ".venv/bin/shardtune").write_text(
        '#!/bin/sh\nif [ $1 = supervise ]; then shift 4; exec "$@"; fi\necho task $SLURM_PROCID: $1\n'
    )

    def submit(case: tuple[str, str]) -> str:
        script, options = case
        log = folder / f"{script}{options}.log".replace(" ", "")
        line = ("sbatch", "--wait", f"--chdir={folder}", f"--output={log}", "--cpus-per-task=1", *options.split())
        done = slurm.run("env", f"--chdir={folder}", *line, f"slurm/{script}.sbatch")
        assert done.returncode == 0, done.stdout
        return log.read_text()

    cases = [(script, options) for script in SCRIPTS for options in TASKS]
    with ThreadPoolExecutor(len(cases)) as threads:
        return dict(zip(cases, threads.map(submit, cases), strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("options", "tasks"), TASKS.items())
def test_a_job_has_one_worker_or_as_many_as_its_options_say(
    logs: dict[tuple[str, str], str], script: str, options: str, tasks: int
) -> None:
    assert sorted(logs[script, options].splitlines()) == [f"task {task}: {script}" for task in range(tasks)]
