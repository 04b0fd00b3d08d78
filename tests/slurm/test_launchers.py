"""Whatever starts the workers, they train to the same weights."""

from pathlib import Path

import pytest

from tests.distributed.training import command, digest
from tests.launching import run
from tests.slurm.cluster import Cluster

FLAGS = ("--deterministic", "--batch_norm", "synced")
SRUN = ("srun", "--mpi=pmix", "--nodes=1")
# mpirun would bind a rank to one core: TensorFlow adds up in another order on one thread than on two.
UNBOUND = {"OMPI_MCA_hwloc_base_binding_policy": "none"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("ranks", "launchers"),
    [
        (1, ("alone", "gloo")),
        pytest.param(1, ("alone", "mpirun", "horovodrun --mpi"), marks=pytest.mark.exhaustive),
        (2, ("mpirun", "horovodrun --mpi", "horovodrun --gloo")),  # sums of two have one order only, whoever adds them up
    ],
)
def test_all_launchers_train_to_the_same_weights(
    slurm: Cluster, small_data: Path, tmp_path: Path, ranks: int, launchers: tuple[str, ...]
) -> None:
    started = slurm.run(*SRUN, f"--ntasks={ranks}", *command(small_data, tmp_path / "srun", *FLAGS, ranks=ranks))
    assert started.returncode == 0, started.stdout
    weights = {"srun": digest(tmp_path / "srun")}
    for launcher in launchers:
        line = command(small_data, tmp_path / launcher, *FLAGS, ranks=ranks)
        done = run(line, launcher=launcher, ranks=ranks, timeout=120, environment=UNBOUND)
        assert done.returncode == 0, done.stdout
        weights[launcher] = digest(tmp_path / launcher)
    assert set(weights.values()) == {weights["srun"]}, weights
