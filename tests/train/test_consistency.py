from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from shardtune.errors import DataError, ShardtuneError, TrainingError, UsageError, WorldError
from shardtune.runtime.communicators import SingleProcessCommunicator
from shardtune.runtime.world import World
from shardtune.train import consistency
from shardtune.train.config import TrainConfig


class WithAPeer(SingleProcessCommunicator):
    """A second rank that says the same as this one, but for what `differs` makes of it at gather number `at`."""

    def __init__(self, at: int | None = None, differs: Any = None) -> None:
        super().__init__()
        self._at, self._differs = at, differs
        self._gathers = -2  # before the first, the world asks who its ranks are

    def allgather(self, value: Any) -> list[Any]:
        self._gathers += 1
        return [value, self._differs(value) if self._gathers == self._at else value]


def agree(data: Path, *peer: Any) -> None:
    consistency.check_ranks_agree(TrainConfig(data, data), World(0, 2, 0, 2, WithAPeer(*peer)))


def test_ranks_that_agree_may_begin(small_data: Path) -> None:
    agree(small_data)


@pytest.mark.parametrize(
    ("differs", "error", "message"),
    [
        (
            lambda v: replace(v, flags={**v.flags, "seed": 3}),
            UsageError,
            r"seed is 0 on rank 0 and 3 on rank 0 of 2 on .*\. Start all",
        ),
        (lambda v: replace(v, data_digest="00"), DataError, r"dataset\.json in .* differs on rank 0 of 2"),
        (lambda v: replace(v, data_digest=None), DataError, r"dataset\.json in .* differs on rank 0 of 2"),
        (
            lambda v: replace(v, environment={**v.environment, "keras": "2.0"}),
            WorldError,
            r"keras is 3\.\S+ on rank 0 and 2\.0 on rank 0 of 2",
        ),
        (lambda v: replace(v, environment={**v.environment, "world size": "3"}), WorldError, "world size is 2 on rank 0 and 3"),
        (
            lambda v: replace(v, environment={**v.environment, "device": "a GPU"}),
            WorldError,
            "device is cores on rank 0 and a GPU on rank 0 of 2",
        ),
    ],
)
def test_ranks_that_differ_may_not(small_data: Path, differs: Any, error: type[ShardtuneError], message: str) -> None:
    with pytest.raises(error, match=message):
        agree(small_data, 0, differs)


@pytest.mark.parametrize("name", ["scalar", "matrix"])
def test_one_changed_bit_is_named(name: str) -> None:
    variables = {"scalar": tf.Variable(1.0), "matrix": tf.Variable(np.ones((3, 4), np.float32))}
    consistency.check_equal_weights(World(0, 2, 0, 2, WithAPeer()), variables)
    original = variables[name].numpy()
    checksums: list[Any] = []
    changed = np.array(original)
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(2))
    variables[name].assign(changed)
    consistency.check_equal_weights(World(0, 2, 0, 2, WithAPeer(0, lambda value: checksums.append(value) or value)), variables)
    variables[name].assign(original)
    with pytest.raises(
        TrainingError, match=f"The weights differ between rank 0 and rank 0 of 2 on .*: 1 variable.s., first {name}"
    ):
        consistency.check_equal_weights(World(0, 2, 0, 2, WithAPeer(0, lambda _: checksums[0])), variables)
