"""slurm/: four jobs in a row, one that reaches its time limit and goes on, one that is cancelled and submitted again."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributed.training import command, digest, lines, outcome, train
from tests.docs.outputs import check_shown
from tests.launch.checkout import ROOT, lay_out
from tests.launch.jobs import ranks
from tests.launching import run, shardtune
from tests.slurm.cluster import Cluster

TRAIN = ("--image_size", 75, "--batch_size", 4, "--max_steps", 2, "--validate_epochs", 0)
LONG = ("--deterministic", "--max_steps", 2000, "--save_every", 50, "--batch_norm", "per_worker")
TWO_TASKS = ("--nodes=1", "--ntasks=2", "--cpus-per-task=1")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images: 30 handwritten digits to train on, 12 to evaluate on, of 3 classes."""
    written, directory = tmp_path_factory.mktemp("all"), tmp_path_factory.mktemp("digits")
    run(["python", str(ROOT / "launch" / "digits.py"), str(written)], launcher="alone", ranks=1, timeout=60)
    for split, number in (("train", 10), ("validation", 4)):
        for label in ("zero", "one", "two"):
            (directory / split / label).mkdir(parents=True)
            for path in sorted((written / split / label).iterdir())[:number]:
                shutil.copy(path, directory / split / label)
    return directory


def states(slurm: Cluster, *jobs: str) -> list[str]:
    """Of jobs, as SLURM names them."""
    output = [slurm.run("scontrol", "--oneliner", "show", "job", job).stdout for job in jobs]
    return [match[1] if (match := re.search(r"JobState=(\w+)", text)) else text for text in output]


def wait_until(holds: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 600
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"it never came to that: {logs(folder)}")
        time.sleep(0.2)


def logs(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.log")}


def submit(slurm: Cluster, folder: Path, *words: object, environment: dict[str, str]) -> tuple[list[str], str]:
    """Submit from a checkout; returns the job numbers that it prints, and all that it prints."""
    done = slurm.run("env", f"--chdir={folder}", *(f"{key}={value}" for key, value in environment.items()), *words)
    assert done.returncode == 0, done.stdout
    return re.findall(r"\d+", done.stdout.splitlines()[0]), done.stdout


def test_a_pipeline(slurm: Cluster, digits: Path, tmp_path: Path) -> None:
    folder, out = lay_out(tmp_path / "checkout", "inception"), tmp_path / "results"
    options = {
        "LAUNCHER": "mpirun --bind-to none",  # srun --mpi=pmix over two nodes would need two hosts
        "OMPI_MCA_btl": "self,tcp",  # files of shared memory are named by the host, which is the same here
        "BUILD_OPTIONS": "--nodes=2 --ntasks=4",
        "TRAIN_OPTIONS": " ".join(TWO_TASKS),
        "EVAL_OPTIONS": "--cpus-per-task=1",
        "REPORT_OPTIONS": "--cpus-per-task=1",
    }
    jobs, printed = submit(slurm, folder, "slurm/pipeline.sh", digits, out, *TRAIN, environment=options)
    assert len(jobs) == 4
    check_shown("docs/slurm.md", "build 1", printed, tmp_path)
    wait_until(lambda: all(state not in ("PENDING", "RUNNING", "COMPLETING") for state in states(slurm, *jobs)), folder)
    assert states(slurm, *jobs) == ["COMPLETED"] * 4, logs(folder)
    output = logs(folder)
    assert "NumNodes=2" in slurm.run("scontrol", "show", "job", jobs[0]).stdout
    assert "2 worker(s) × 4" in output[f"shardtune-train-{jobs[1]}.log"]
    assert f"The report is {out}/run/report.html" in output[f"shardtune-report-{jobs[3]}.log"]
    assert (out / "export" / "saved_model" / "saved_model.pb").is_file()
    shardtune("eval", "--data_dir", out / "data", "--checkpoint_dir", out / "run", "--eval_dir", tmp_path)
    local, remote = (json.loads((folder / "eval.json").read_text()) for folder in (tmp_path, out / "run"))
    assert [local[key] for key in ("examples", "top_1", "top_5")] == [remote[key] for key in ("examples", "top_1", "top_5")]
    assert local["examples"] == 12


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("became", "steps", "limit"),
    # A minute, or what SLURM makes of it, is not enough for so many.
    [("lost", 2000, ()), ("stopped", 6000, ("--time=1", "--signal=B:USR1@10"))],
)
def test_a_job_that_is_queued_again_goes_on(
    slurm: Cluster, small_data: Path, tmp_path: Path, became: str, steps: int, limit: tuple[str, ...]
) -> None:
    flags = (*LONG, "--max_steps", steps)
    train(small_data, tmp_path / "undisturbed", *flags, over="mpi", ranks=2)
    folder, directory = lay_out(tmp_path / "checkout", "small"), tmp_path / "run"
    line = ("sbatch", "--parsable", *TWO_TASKS, *limit, "slurm/train.sbatch")
    [job], _ = submit(slurm, folder, *line, *command(small_data, directory, *flags, ranks=2)[3:], environment={})
    if became == "lost":
        wait_until(lambda: lines(directory) > 100, folder)
        ranks(directory)[-1].kill()
    wait_until(lambda: states(slurm, job) == ["COMPLETED"], folder)
    output = logs(folder)[f"shardtune-train-{job}.log"]
    assert f"The run in {directory} was {became}. The job is requeued and resumes from the last checkpoint." in output
    assert "Resuming after step" in output
    assert "DUE TO TIME LIMIT" not in output
    assert outcome(directory)["outcome"] == "finished"
    assert outcome(directory)["attempt"] > 1
    assert digest(directory) == digest(tmp_path / "undisturbed")


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_job_is_not_queued_again_for_ever(slurm: Cluster, small_data: Path, tmp_path: Path) -> None:
    folder, directory = lay_out(tmp_path / "checkout", "small"), tmp_path / "run"
    flags = command(small_data, directory, *LONG, "--max_steps", 10_000_000, ranks=2)[3:]
    line = ("sbatch", "--parsable", *TWO_TASKS, "slurm/train.sbatch", *flags)
    [job], _ = submit(slurm, folder, *line, environment={"MAX_REQUEUES": "0"})
    wait_until(lambda: lines(directory) > 100, folder)
    assert slurm.run("scancel", "--signal=USR1", "--batch", job).returncode == 0  # what SLURM does before the time is over
    wait_until(lambda: states(slurm, job) == ["FAILED"], folder)
    output = logs(folder)[f"shardtune-train-{job}.log"]
    assert (
        f"The run in {directory} was stopped after 0 requeues, and at most 0 are allowed. Submit the job again to resume."
        in output
    )


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize("launcher", ["srun --mpi=pmix", "mpirun"])
def test_a_job_that_is_cancelled_goes_on_when_submitted_again(
    slurm: Cluster, small_data: Path, tmp_path: Path, launcher: str
) -> None:
    folder, directory = lay_out(tmp_path / "checkout", "small"), tmp_path / "run"
    flags = command(small_data, directory, *LONG, ranks=2)[3:]
    line = ("sbatch", "--parsable", *TWO_TASKS, "slurm/train.sbatch", *flags)
    [first], _ = submit(slurm, folder, *line, environment={"LAUNCHER": launcher})
    wait_until(lambda: lines(directory) > 100, folder)
    assert slurm.run("scancel", first).returncode == 0
    wait_until(lambda: not slurm.run("squeue", "--noheader").stdout, folder)
    assert states(slurm, first) == ["CANCELLED"], logs(folder)
    [second], _ = submit(slurm, folder, *line, environment={"LAUNCHER": launcher})
    wait_until(lambda: states(slurm, second)[0] not in ("PENDING", "RUNNING", "COMPLETING"), folder)
    assert states(slurm, second) == ["COMPLETED"], logs(folder)
    assert "Resuming after step" in logs(folder)[f"shardtune-train-{second}.log"]
    assert (outcome(directory)["outcome"], outcome(directory)["attempt"]) == ("finished", 2)
