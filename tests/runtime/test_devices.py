import re
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.errors import WorldError
from shardtune.runtime import devices
from shardtune.runtime.devices import cores_per_rank, find_shared_gpus
from tests.launching import launch, run


@pytest.mark.parametrize(
    ("affinities", "expected"),
    [
        ([{0, 1, 2, 3}], [4]),  # alone
        ([{0, 1, 2, 3}] * 2, [2, 2]),  # not bound: all overlap
        ([{0, 1}, {2, 3}], [2, 2]),  # bound to cores of their own
        ([{0, 1, 2, 3}, {2, 3}], [2, 1]),  # one of them bound
        ([{0}, {0}, {0}], [1, 1, 1]),  # more ranks than cores
        ([{0, 1}, {1, 2}, {2, 3}], [1, 1, 1]),
    ],
)
def test_ranks_share_the_cores_that_they_have_in_common(affinities: list[set[int]], expected: list[int]) -> None:
    assert [cores_per_rank(affinities, own) for own in affinities] == expected


@given(st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=9))
def test_no_rank_is_left_without_a_core_or_takes_more_than_it_has(affinities: list[set[int]]) -> None:
    for own in affinities:
        assert 1 <= cores_per_rank(affinities, own) <= len(own)


TWO = ["GPU 0: NVIDIA A100 (UUID: GPU-a)", "GPU 1: NVIDIA A100 (UUID: GPU-b)"]
DIVIDED = [TWO[0], "  MIG 1g.5gb     Device  0: (UUID: MIG-a)", "  MIG 1g.5gb     Device  1: (UUID: MIG-b)", TWO[1]]


@pytest.mark.parametrize(
    ("lines", "visible", "expected"),
    [
        ([], None, 0),
        (TWO, None, 2),
        (DIVIDED, None, 1),
        (DIVIDED, "MIG-a,MIG-b", 1),
        (DIVIDED, "", 0),
        (TWO, "1", 1),
        (TWO, "GPU-a,GPU-b", 2),
        (TWO, "", 0),
        (TWO, "-1", 0),
        (TWO, "0,-1,1", 1),
        (TWO, "0,1,2,3", 2),
    ],
)
def test_gpus_are_counted_as_cuda_shows_them(lines: list[str], visible: str | None, expected: int) -> None:
    assert devices.count_visible_gpus(lines, visible) == expected


@pytest.mark.parametrize(
    ("ranks", "sentence"),
    [
        ([("a", "x"), ("a", "y"), ("b", "z")], None),
        ([("a", None), ("a", None)], None),  # without GPUs, or without an answer of the driver
        ([("a", "x"), ("b", "x")], None),  # copies of a virtual machine
        ([("a", "x"), ("a", "x")], "Ranks 0 and 1 of 2 share the GPU x of a, but each rank needs one of its own."),
        (
            [("a", "x"), ("b", "y"), ("b", "z"), ("b", "y"), ("a", None), ("b", "y")],
            "Ranks 1, 3 and 5 of 6 share the GPU y of b, but each rank needs one of its own.",
        ),
    ],
)
def test_ranks_that_share_a_gpu_are_named(ranks: list[tuple[str, str | None]], sentence: str | None) -> None:
    assert [error.message for error in find_shared_gpus(ranks)] == ([sentence] if sentence else [])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 9).map(str)), max_size=8))
def test_ranks_share_no_gpu_exactly_if_there_are_as_many_as_ranks_with_one(ranks: list[tuple[str, str | None]]) -> None:
    used = [rank for rank in ranks if rank[1]]
    assert (find_shared_gpus(ranks) == []) == (len(set(used)) == len(used))


def test_real_ranks_that_share_a_gpu_end_and_one_says_so() -> None:
    code = """
from shardtune import cli
from shardtune.runtime import devices
devices.own_gpu_uuid = lambda: "x"
cli.run_command(lambda: None, lambda config: ("horovod", lambda config, world: devices.configure_devices(world)))
"""
    done = run([sys.executable, "-c", code], launcher="gloo", ranks=2, timeout=120)
    assert done.returncode != 0, done.stdout
    sentence = f"Ranks 0 and 1 of 2 share the GPU x of {socket.gethostname()}, but each rank needs one of its own."
    advice = "Start one rank per GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the cores."
    assert re.findall("shardtune: (.*)", done.stdout) == [f"{sentence} {advice}"]


def test_a_rank_whose_host_has_gpus_that_it_cannot_use_ends_all_and_is_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "0000:17:00.0").mkdir()
    code = f"""
import os
from pathlib import Path
from shardtune import cli
from shardtune.runtime import devices
if os.environ["HOROVOD_RANK"] == "1":
    devices.DRIVER_GPUS = Path({str(tmp_path)!r})
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
cli.run_command(lambda: None, lambda config: ("horovod", lambda config, world: devices.configure_devices(world)))
"""
    done = run([sys.executable, "-c", code], launcher="gloo", ranks=2, timeout=120)
    assert done.returncode != 0
    [complaint] = re.findall("shardtune: (.*)", done.stdout)
    assert complaint.startswith(f"The host {socket.gethostname()} has GPUs, but TensorFlow finds none: it was built")


def test_gpus_that_tensorflow_cannot_use_are_an_error_unless_they_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "DRIVER_GPUS", tmp_path)
    devices.check_no_gpu_is_unused({})  # a driver without GPUs: a login node
    (tmp_path / "0000:17:00.0").mkdir()
    for hidden in ("", "-1"):
        devices.check_no_gpu_is_unused({"CUDA_VISIBLE_DEVICES": hidden})
    with pytest.raises(WorldError, match=r"TensorFlow finds none: it was built without CUDA\. Run KIND=gpu launch/setup\.sh"):
        devices.check_no_gpu_is_unused({})


CONFIGURED = """
import os
from shardtune.runtime import devices
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
os.sched_setaffinity(0, cores := sorted(os.sched_getaffinity(0))[:2])
devices.own_gpu_uuid = lambda: os.environ.get("HOROVOD_RANK")
world = World.from_environment("horovod", os.environ)
print("cores", len(cores), "used", devices.configure_devices(world))
for tf32 in ({}, {"tf32": True}, {"tf32": False}):
    devices.configure_devices(world, **tf32)
    print("tf32", tf.config.experimental.tensor_float_32_execution_enabled())
"""


def test_one_process_uses_all_its_cores_and_rounds_float32_to_tf32_only_where_that_is_asked_for() -> None:
    output = launch(["-c", CONFIGURED])
    assert re.findall(r"used (\d+)", output) == re.findall(r"cores (\d+)", output)
    assert re.findall(r"tf32 (\w+)", output) == ["False", "True", "False"]


def test_real_ranks_with_gpus_of_their_own_that_may_run_on_the_same_cores_share_them() -> None:
    output = launch(["-c", CONFIGURED], launcher="gloo", ranks=2)  # which, unlike mpirun, binds no rank to a core
    assert re.findall(r"used (\d+)", output) == ["1", "1"]
