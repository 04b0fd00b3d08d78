"""The temperature by which logits are divided so that probabilities say how often they are right (Guo et al. 2017)."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.runtime.files import filename_in_errors
from shardtune.runtime.world import World

COLDEST, HOTTEST = 0.01, 100.0
TOLERANCE = 1e-12  # of the temperature, relative
MAX_ITERATIONS = 100  # Newton's take about ten
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # labels [n] and logits [n, classes]


class LogitsFile:
    """All logits of this rank in a temporary file without a name, because fitting reads them some ten times.

    It takes 4 bytes a logit: 200 MB for ImageNet's 50,000 validation images. They stay in memory while there is room for them,
    and a killed process leaves nothing behind.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.gettempdir())
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._labels: list[npt.NDArray[np.int64]] = []

    def add(self, labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> None:
        """Add a batch."""
        self._num_classes = logits.shape[1]
        self._labels.append(labels)
        with filename_in_errors(self._directory):
            self._file.write(logits.tobytes())

    def __iter__(self) -> Iterator[Batch]:
        with filename_in_errors(self._directory):
            self._file.seek(0)
        for labels in self._labels:
            data = self._file.read(len(labels) * self._num_classes * np.dtype(np.float32).itemsize)
            yield labels, np.frombuffer(data, np.float32).reshape(len(labels), self._num_classes)

    def close(self) -> None:
        with suppress(OSError):  # of writing what nobody reads any more
            self._file.close()


def fit_temperature(logits: LogitsFile, world: World) -> float | None:
    """The temperature with the smallest mean loss, the same for any number of ranks; for all ranks to call.

    None where no temperature from 0.01 to 100 has the smallest: every label comes first, or labels are no better than chance.
    """

    def derivatives(beta: float) -> tuple[float, float]:
        # fsum rounds once: the sums do not depend on the order of the batches, so not on the number of ranks.
        parts = [pair for part in world.allgather([_derivatives(*batch, beta) for batch in logits]) for pair in part]
        return math.fsum(slope for slope, _ in parts), math.fsum(curvature for _, curvature in parts)

    beta = find_minimum(derivatives, 1 / HOTTEST, 1 / COLDEST)
    return None if beta is None else 1 / beta


def find_minimum(derivatives: Callable[[float], tuple[float, float]], low: float, high: float) -> float | None:
    """Where a convex function has its minimum between `low` and `high`, both above 0, or None if it has none there.

    Args:
        derivatives: of a number, the first and the second derivative there.
    """
    if derivatives(low)[0] >= 0 or derivatives(high)[0] <= 0:
        return None
    x = math.sqrt(low * high)
    for _ in range(MAX_ITERATIONS):
        slope, curvature = derivatives(x)
        following = x - slope / curvature if curvature > 0 else math.inf
        if abs(following - x) <= TOLERANCE * x:
            return following
        low, high = (x, high) if slope < 0 else (low, x)
        x = following if low < following < high else math.sqrt(low * high)  # Newton's, or between the bounds
    return x


def _derivatives(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], beta: float) -> tuple[float, float]:
    """Sums over a batch of the derivatives of the loss −ln softmax(β z)[label] by β = 1 / temperature.

    They are E[z] − z[label] and Var[z], with z distributed as the softmax says.
    """
    z = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    weights = np.exp(beta * z)
    weights /= weights.sum(axis=1, keepdims=True)
    means = (weights * z).sum(axis=1)
    variances = (weights * (z - means[:, np.newaxis]) ** 2).sum(axis=1)
    return float((means - z[np.arange(len(z)), labels]).sum()), float(variances.sum())
