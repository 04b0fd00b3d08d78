"""Whole runs of the doctor, alone and under launchers."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.launching import ENVIRONMENT, run


def doctor(
    tmp_path: Path, *options: str, launcher: str = "alone", ranks: int = 2, environment: Mapping[str, str] = {}
) -> tuple[int, str]:
    """Status and output of `shardtune doctor`."""
    command = [sys.executable, "-m", "shardtune", "doctor", "--directory", str(tmp_path), *options]
    done = run(command, launcher=launcher, ranks=ranks, timeout=240, environment=environment)
    return done.returncode, done.stdout


# These depend on the machine. Everything else must be green where setup.sh has been run.
OF_THE_MACHINE = {"disk", "allreduce", "cores"}
OF_A_HOST = {"Python", "versions", "TensorFlow", "GPUs", "Horovod", "NCCL", "MPI", "SLURM", "disk", "cores"}


def test_alone(tmp_path: Path) -> None:
    status, output = doctor(tmp_path, "--json")
    report = json.loads(output[: output.rindex("}") + 1])
    assert {line["topic"] for line in report["findings"]} == OF_A_HOST | {"mpirun"}
    red = {line["topic"] for line in report["findings"] if not line["ok"]}
    assert red <= OF_THE_MACHINE, output
    assert (status, report["ok"]) == (int(bool(red)), not red)


@pytest.mark.parametrize(
    ("launcher", "name", "backends"), [("mpirun", "mpirun", ["mpi", "horovod"]), ("gloo", "horovodrun --gloo", ["horovod"])]
)
def test_under_a_launcher(tmp_path: Path, launcher: str, name: str, backends: list[str]) -> None:
    _, output = doctor(tmp_path, launcher=launcher)
    lines = re.findall(r"(green|red) +(\w+) +(.+?)(?:  |$)", output, re.MULTILINE)
    assert {topic for _, topic, _ in lines} == OF_A_HOST | {"launcher", "agreement", "allreduce"}, output
    assert {topic for colour, topic, _ in lines if colour == "red"} <= OF_THE_MACHINE, output
    for backend in backends:
        assert f"{name}, {backend}" in output
    assert ("green", "agreement", "2 rank(s) have the same versions") in lines
    assert re.search(r"allreduce +96 MB in \d+ ms: \d+ MB/s", output)


def test_without_tensorflow_and_horovod(tmp_path: Path) -> None:
    for name in ("tensorflow", "horovod"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')")
    path = f"{tmp_path}:{':'.join(sys.path[1:])}"
    status, output = doctor(tmp_path, environment={"PYTHONPATH": path})
    assert status == 1
    for name in ("TensorFlow", "Horovod"):
        assert re.search(rf"red +{name} +\w+Error: .*No module named {name.lower()}.*\n +→ .*: run launch/setup.sh", output)
    assert re.search(r"shardtune: \d of 11 checks failed\. Follow the advice under each red line\.\n$", output)
    assert "Traceback" not in output


def test_one_rank_without_horovod_is_checked_all_the_same(tmp_path: Path) -> None:
    # As where nothing but shardtune[train] is installed: importing a package that is None raises ModuleNotFoundError.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['horovod'] = None\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{ENVIRONMENT.get('PYTHONPATH', '')}"}
    _, output = doctor(tmp_path, launcher="mpirun", ranks=1, environment=environment)
    assert re.search(r"red +Horovod +ModuleNotFoundError: .*horovod.*\n +→ training on several workers needs it", output), (
        output
    )
    assert re.search(r"green +launcher +1 rank\(s\) +mpirun, horovod", output), output


def test_tasks_that_cannot_find_each_other_get_one_sentence(tmp_path: Path) -> None:
    status, output = doctor(tmp_path, environment={"SLURM_STEP_NUM_TASKS": "8"})
    assert status == 1
    assert re.fullmatch(r"shardtune: srun started 8 tasks without --mpi, .* Use srun --mpi=pmix.*\n", output)


IMPATIENT = """
import sys
from shardtune import cli
from shardtune.doctor import doctor
doctor.TIMEOUT_SECONDS = 30.0
cli.main(["doctor", "--directory", sys.argv[1]])
"""


@pytest.mark.exhaustive
def test_the_doctor_does_not_wait_for_ever_for_ranks_that_do_not_answer(tmp_path: Path) -> None:
    # One of the two never calls MPI_Init, so that of the doctor does not return.
    silent = [":", "-n", "1", "sleep", "200"]
    done = run([sys.executable, "-c", IMPATIENT, str(tmp_path), *silent], launcher="mpirun", ranks=1, timeout=120)
    assert done.returncode != 0
    assert "shardtune: Some ranks did not answer within 30 s. Check that each host reaches the others" in done.stdout
