"""A step in micro-batches is the step as a whole, on any number of workers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.input.order import count_micro_batches, micro_batches, rank_slice
from shardtune.model.inception import named_variables
from shardtune.runtime.world import World
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep
from tests.train.networks import small
from tests.train.steps import BATCH, CLASSES, CONFIG, IMAGES, LABELS, SIDE, stepped, take


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])
def test_a_step_in_micro_batches_is_the_step_as_a_whole(batch_size: int) -> None:
    models = [small(CLASSES, SIDE, kind="frozen") for _ in range(2)]
    whole, parts = (
        stepped(model, 5, 0.1, replace(CONFIG, batch_size=size))
        for model, size in zip(models, (BATCH, batch_size), strict=True)
    )
    assert [metrics.loss for metrics in parts] == pytest.approx([metrics.loss for metrics in whole], rel=1e-5)
    for name, variable in named_variables(models[0]).items():
        assert np.allclose(variable, named_variables(models[1])[name], atol=1e-6), name


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 50))
def test_micro_batches_are_as_many_on_all_ranks_cover_all_and_fit(global_batch: int, workers: int, batch_size: int) -> None:
    workers = min(workers, global_batch)
    count = count_micro_batches(global_batch, workers, batch_size)
    sizes, rows = [], []
    for rank in range(workers):
        begin, end = rank_slice(global_batch, World(rank, workers, rank, workers))
        divided = micro_batches(end - begin, count)
        assert len(divided) == count
        sizes += [last - first for first, last in divided]
        rows += [begin + row for first, last in divided for row in range(first, last)]
        assert max(sizes[-count:]) - min(sizes[-count:]) <= 1
    assert rows == list(range(global_batch))
    assert max(sizes) <= batch_size
    assert count == 1 or -(-global_batch // workers) > (count - 1) * batch_size  # no fewer would do


def test_moving_statistics_decay_once_a_step_towards_all_its_micro_batches() -> None:
    model, examples, sizes = small(CLASSES, SIDE), 5, (1, 2, 2)
    config = replace(CONFIG, batch_size=2, batch_norm_decay=0.5)
    norm = model.get_layer("norm")
    below = np.split(model.get_layer("below")(IMAGES[:examples]).numpy(), np.cumsum(sizes)[:-1])
    run = TrainStep(TrainState(model, config), World(), config, examples)
    for _ in range(2):
        expected = [
            0.5 * variable.numpy() + 0.5 * np.average([moment(part, axis=(0, 1, 2)) for part in below], axis=0, weights=sizes)
            for moment, variable in ((np.mean, norm.moving_mean), (np.var, norm.moving_variance))
        ]
        take(run, 0, 0.0, examples=examples, batch_size=2)
        assert np.allclose([norm.moving_mean, norm.moving_variance], expected, rtol=1e-5, atol=1e-6)


def test_a_worker_with_nothing_in_a_micro_batch_adds_nothing() -> None:
    # Of three examples and two workers one has two, so that both go through two micro-batches of at most one.
    models = [small(CLASSES, SIDE, auxiliary=True) for _ in range(2)]
    for model, batch_size in zip(models, (2, 1), strict=True):
        config = replace(CONFIG, batch_size=batch_size)
        run = TrainStep(TrainState(model, config), World(0, 2, 0, 2), config, 3)
        bounds = micro_batches(1, count_micro_batches(3, 2, batch_size))
        metrics = run([(IMAGES[begin:end], LABELS[begin:end]) for begin, end in bounds], 0, 0.1, stop_requested=False)()
        assert np.isfinite([metrics.loss, metrics.gradient_norm]).all()
    for name, variable in named_variables(models[0]).items():
        assert np.allclose(variable, named_variables(models[1])[name], atol=1e-6), name
