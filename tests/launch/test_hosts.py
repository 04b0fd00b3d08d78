"""Several hosts, joined over ssh."""

import json
import sys
from pathlib import Path

import pytest

from tests.distributed.training import outcome
from tests.docs.outputs import check_shown
from tests.launch.hosts import Hosts
from tests.launch.jobs import killed_in_the_end, ranks, train_sh, wait_for_steps
from tests.launching import finish, start
from tests.records import contents

WORLD_BODY = Path(__file__).parents[1] / "distributed" / "world_body.py"


def test_horovodrun_over_two_hosts(hosts: Hosts) -> None:
    done = hosts.run("a", "horovodrun", "--gloo", "-np", 2, "-H", "a:1,b:1", sys.executable, WORLD_BODY, "horovod", 2)
    assert done.returncode == 0, done.stdout
    assert all(f"rank {rank} of 2 ok" in done.stdout for rank in range(2))


def test_a_build_over_two_hosts(hosts: Hosts, scripts: Path, small_images: Path, small_data: Path, tmp_path: Path) -> None:
    flags = {
        "train_directory": small_images / "train",
        "validation_directory": small_images / "validation",
        "output_directory": tmp_path,
        "train_shards": 4,
        "validation_shards": 2,
    }
    line = [scripts / "launch" / "build.sh", *(f"--{name}={value}" for name, value in flags.items())]
    done = hosts.run("a", *line, environment={"HOSTS": "a:1,b:1", "INTERFACE": "eth0"})
    assert done.returncode == 0, done.stdout
    assert contents(tmp_path) == contents(small_data)


def test_a_run_on_another_host_is_stopped(hosts: Hosts, scripts: Path, small_data: Path, tmp_path: Path) -> None:
    line = train_sh(scripts, small_data, tmp_path, "--max_steps", 100_000)
    with killed_in_the_end(
        start(hosts.command("a", *line), environment={"HOSTS": "b:1", "INTERFACE": "eth0"}), tmp_path
    ) as job:
        wait_for_steps(job, tmp_path, 5)
        job.terminate()
        done = finish(job, 60)
        assert done.returncode == 75, done.stdout
        assert not ranks(tmp_path)
    assert outcome(tmp_path)["outcome"] == "stopped"


def test_an_evaluation_leaves_out_a_host_that_is_cut_off(hosts: Hosts, scripts: Path, small_data: Path, tmp_path: Path) -> None:
    flags = ("--data_dir", small_data, "--checkpoint_dir", tmp_path, "--eval_dir", tmp_path)
    with hosts.cut("b"):
        environment = {"HOSTS": "a:1,b:1", "INTERFACE": "eth0"}
        done = hosts.run("a", scripts / "launch" / "eval.sh", *flags, environment=environment)
    assert "shardtune: Host b does not answer and is left out." in done.stdout
    assert f"shardtune: {tmp_path} is no run directory: it has no config.json." in done.stdout  # the one worker on a says so


@pytest.mark.exhaustive
@pytest.mark.parametrize(("order", "min_workers"), [("a:1,b:1", 1), ("a:1,b:1", 2), ("b:1,a:1", 1)])
def test_a_host_that_is_cut_off_is_left_out(
    hosts: Hosts, scripts: Path, small_data: Path, tmp_path: Path, order: str, min_workers: int
) -> None:
    flags = ("--max_steps", 4000, "--save_every", 100, "--hang_timeout", 5)
    line = train_sh(scripts, small_data, tmp_path, *flags, options=("--max_restarts", 1, "--min_workers", min_workers))
    with killed_in_the_end(
        start(hosts.command("a", *line), environment={"HOSTS": order, "INTERFACE": "eth0"}), tmp_path
    ) as job:
        wait_for_steps(job, tmp_path, 150)
        with hosts.cut("b"):
            done = finish(job, 200)
    assert "No progress for 5 s" in (tmp_path / "logs" / "rank-0.log").read_text()
    if min_workers == 2:
        assert done.returncode == 1
        assert "shardtune: Only 1 workers are left, fewer than --min_workers 2." in done.stdout
        return
    assert done.returncode == 0, done.stdout
    if order.startswith("a"):  # else rank 0 is on the host that is cut off, and prints nothing more
        check_shown("docs/several-machines.md", "[0]", done.stdout.replace(str(tmp_path), "results/run"))
    assert "4000 steps of 12" in done.stdout
    assert (outcome(tmp_path)["outcome"], outcome(tmp_path)["attempt"]) == ("finished", 2)
    assert json.loads((tmp_path / "config.json").read_text())["workers"] == 2
