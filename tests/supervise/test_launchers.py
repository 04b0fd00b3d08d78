"""Command lines, hosts and what became of a run: pure functions, by tables."""

from pathlib import Path
from typing import Any

import pytest

from shardtune.errors import UsageError
from shardtune.supervise.config import SuperviseConfig
from shardtune.supervise.hosts import Host, format_hosts, parse_hosts
from shardtune.supervise.launchers import compose_launch, find_subcommand
from shardtune.supervise.outcome import Outcome, classify, find_train_dir, load_outcome
from tests.supervise.schedule import ScheduledMachine

SHARDTUNE = "/venv/bin/shardtune"


@pytest.mark.parametrize(
    ("command", "options", "gpus", "expected"),
    [
        ("shardtune train", {}, 0, f"horovodrun -np 1 {SHARDTUNE} train"),
        ("shardtune train", {}, 8, f"horovodrun -np 8 {SHARDTUNE} train"),
        ("shardtune eval", {"workers": 2}, 8, f"horovodrun -np 2 {SHARDTUNE} eval"),
        ("shardtune eval", {"hosts": "a:4,b:3"}, 8, f"horovodrun --gloo -np 7 -H a:4,b:3 {SHARDTUNE} eval"),
        (
            "shardtune train",
            {"hosts": "a:4,b:3", "interface": "eth0"},
            0,
            f"horovodrun --gloo -np 7 -H a:4,b:3 --network-interfaces eth0 {SHARDTUNE} train",
        ),
        ("shardtune train", {"hosts": "a:4", "interface": "eth0"}, 0, f"horovodrun --gloo -np 4 -H a:4 {SHARDTUNE} train"),
        (
            "shardtune train",
            {"hosts": "b:4", "interface": "eth0"},
            0,
            f"horovodrun --gloo -np 4 -H b:4 --network-interfaces eth0 {SHARDTUNE} train",
        ),
        ("shardtune predict photos", {}, 2, f"horovodrun -np 2 {SHARDTUNE} predict photos"),
        ("shardtune build", {}, 8, f"/venv/bin/mpirun -n 2 {SHARDTUNE} build"),
        ("shardtune build", {"workers": 5}, 0, f"/venv/bin/mpirun -n 5 {SHARDTUNE} build"),
        (
            "shardtune build",
            {"hosts": "b:4", "interface": "eth0"},
            0,
            f"/venv/bin/mpirun -n 4 -H b:4 --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 {SHARDTUNE} build",
        ),
        ("shardtune report", {"hosts": "b:4"}, 8, f"{SHARDTUNE} report"),
        ("shardtune export", {"workers": 3}, 8, f"{SHARDTUNE} export"),
        ("srun --mpi=pmix shardtune train", {"hosts": "b:4", "workers": 3}, 8, "srun --mpi=pmix shardtune train"),
    ],
)
def test_the_launcher(command: str, options: dict[str, Any], gpus: int, expected: str) -> None:
    config = SuperviseConfig(tuple(command.split()), **options)
    launch = compose_launch(config, parse_hosts(config.hosts), ScheduledMachine(Path(), (), gpus=gpus, cores=2))
    assert " ".join(launch.words) == expected
    assert ("OMPI_ALLOW_RUN_AS_ROOT" in launch.environment) == (expected.split()[0] not in ("srun", SHARDTUNE))


@pytest.mark.parametrize(
    ("workers", "hosts", "expected"),
    [
        (1, "", f"{SHARDTUNE} train"),
        (2, "", f"horovodrun -np 2 {SHARDTUNE} train"),
        (1, "b:1", f"horovodrun --gloo -np 1 -H b:1 {SHARDTUNE} train"),
    ],
)
def test_without_horovod_one_worker_has_no_launcher(
    workers: int, hosts: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ScheduledMachine(Path(), (), gpus=0, cores=2)
    monkeypatch.setattr(machine, "find_program", lambda name: SHARDTUNE if name == "shardtune" else name)
    config = SuperviseConfig(("shardtune", "train"), workers=workers, hosts=hosts)
    assert " ".join(compose_launch(config, parse_hosts(hosts), machine).words) == expected


def test_hosts() -> None:
    assert parse_hosts("") == ()
    assert parse_hosts("a:4,10.0.0.2:16") == (Host("a", 4), Host("10.0.0.2", 16))
    assert format_hosts(parse_hosts("a:4,me@b:16")) == "a:4,me@b:16"


@pytest.mark.parametrize("entry", ["b", "b:", "b:0", "b:-1", "b:x", ":4", "-oProxyCommand=x:4", "a b:4", "b:4:4"])
def test_a_host_needs_a_name_and_a_number(entry: str) -> None:
    with pytest.raises(UsageError, match=r"in the list of hosts is not HOST:PROCESSES\. Write the list like a:4,b:4\."):
        parse_hosts(f"a:4,{entry}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("shardtune train --train_dir run", "train"),
        ("/venv/bin/shardtune eval", "eval"),
        ("srun --mpi=pmix apptainer exec --nv image.sif shardtune train", "train"),
        ("shardtune", ""),
        ("echo train", ""),
    ],
)
def test_the_subcommand(words: str, expected: str) -> None:
    assert find_subcommand(words.split()) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--train_dir a --epochs 3", "a"),
        ("--train-dir=a=b", "a=b"),
        ("--train_dir a --train_dir=b", "b"),
        ("--train_dir=a --train-dir b", "b"),
        ("-train_dir=a", "a"),
        ("--epochs 3", None),
        ("--train_dir=", None),
        ("--train_dir", None),
        ("--pretrained_model_checkpoint_path=x --train_directory a", None),
    ],
)
def test_the_run_directory(words: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match=r"The training command has no --train_dir\."):
            find_train_dir(words.split())
    else:
        assert find_train_dir(words.split()) == Path(expected)


OLD, NEW = {"attempt": 1, "outcome": "finished", "rank": 1}, {"attempt": 2}


@pytest.mark.parametrize(
    ("after", "status", "stop_requested", "expected"),
    [
        (OLD, 0, False, "finished"),
        (OLD, 2, False, "refused"),
        (OLD, 2, True, "stopped"),
        (OLD, 0, True, "stopped"),
        ({**NEW, "outcome": "finished"}, 1, False, "finished"),
        ({**NEW, "outcome": "finished"}, 1, True, "finished"),
        ({**NEW, "outcome": "stopped"}, 1, False, "stopped"),
        ({**NEW, "outcome": "running"}, 1, True, "stopped"),
        ({**NEW, "outcome": "failed", "rank": 0}, 1, True, "stopped"),
        ({**NEW, "outcome": "failed", "rank": 0}, 1, False, "failed"),
        ({**NEW, "outcome": "failed", "rank": 3}, 0, False, "failed"),
        ({**NEW, "outcome": "failed"}, 1, False, "lost"),  # by a guard that found a silent rank
        ({**NEW, "outcome": "running"}, 0, False, "lost"),
    ],
)
def test_what_became_of_a_run(after: dict[str, Any], status: int, stop_requested: bool, expected: str) -> None:
    assert classify(Outcome(**OLD), Outcome(**after), status=status, stop_requested=stop_requested) == expected


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "7", '"x"', "\xff", "[" * 100_000])
def test_a_damaged_outcome_has_no_fields(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "outcome.json").write_bytes(text.encode("latin-1"))
    assert load_outcome(tmp_path) == Outcome()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": ()}, "No command follows the options"),
        ({"workers": 0}, "workers must be above 0"),
        ({"max_restarts": -1}, "max_restarts must be at least 0"),
        ({"min_workers": -1}, "min_workers must be at least 0"),
        ({"max_requeues": -1}, "max_requeues must be at least 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SuperviseConfig(**{"command": ("shardtune", "train"), **options})
