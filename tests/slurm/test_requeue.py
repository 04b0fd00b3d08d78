"""slurm/train.sbatch on a real SLURM, with a small program in place of training."""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.launch.checkout import lay_out
from tests.slurm.cluster import Cluster
from tests.supervise.programs import TRAINER

SHARDTUNE = """\
#!/bin/sh
[ "$1" != train ] || exec {python} -S {folder}/trainer.py "$@"
exec {supervisor} "$@"
"""
SECONDS = 240  # a hang ends there


def wait_until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(log.read_text() if log.exists() else "no log")
        time.sleep(0.2)


def test_a_job_whose_time_is_nearly_over_is_requeued_and_finishes(slurm: Cluster, tmp_path: Path) -> None:
    folder, run = lay_out(tmp_path / "checkout", "small"), tmp_path / "run"
    programs = folder / ".venv" / "bin"
    (folder / "trainer.py").write_text(TRAINER)
    supervisor = (programs / "shardtune").rename(programs / "supervisor")
    (programs / "shardtune").write_text(SHARDTUNE.format(python=sys.executable, folder=folder, supervisor=supervisor))
    (programs / "shardtune").chmod(0o755)

    def outcome() -> str:
        path = run / "outcome.json"
        return str(json.loads(path.read_text())["outcome"]) if path.exists() else ""

    def state() -> str:
        shown = slurm.run("scontrol", "--oneliner", "show", "job", job).stdout
        return "".join(re.findall(r"JobState=(\w+)", shown))

    variables = ("TRAINER=runs,finishes", "LAUNCHER=srun --mpi=none", "MAX_REQUEUES=1")
    submit = ("sbatch", "--parsable", "--ntasks=1", "--cpus-per-task=1", "slurm/train.sbatch", "--train_dir", run)
    job = slurm.run("env", f"--chdir={folder}", *variables, *submit).stdout.strip()
    log = folder / f"shardtune-train-{job}.log"
    wait_until(lambda: outcome() == "running", log)
    assert slurm.run("scancel", "--signal=USR1", "--batch", job).returncode == 0  # as SLURM does before the time is over
    wait_until(lambda: state() == "COMPLETED", log)
    assert json.loads((run / "outcome.json").read_text()) == {"attempt": 2, "outcome": "finished"}
    command = f"+ srun --mpi=none shardtune train --train_dir {run}"
    lines = [line for line in log.read_text().splitlines() if line.startswith(("+ ", "shardtune: "))]
    assert lines == [
        command,
        f"shardtune: The run in {run} was stopped. The job is requeued and resumes from the last checkpoint.",
        command,
    ]
