from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluator import BATCHES_PER_STOP_CHECK, Evaluator
from shardtune.evaluate.network import InceptionNetwork
from shardtune.model import inception
from shardtune.runtime.world import World

SIDE, CLASSES = 4, 9
GENERATOR = np.random.default_rng(6)
IMAGES = GENERATOR.normal(size=(50, SIDE, SIDE, 3)).astype(np.float32)
LABELS = GENERATOR.integers(1, CLASSES, 50)


def network(classes: int = CLASSES) -> Any:
    """Random logits that depend on the image; dropout, because it must be off."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, {"logits": keras.layers.Dense(classes)(x)})


def batches(*sizes: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    start = 0
    for size in sizes:
        yield np.arange(start, start + size), IMAGES[start : start + size], LABELS[start : start + size]
        start += size


def by_numpy(model: Any, labels: npt.NDArray[np.int64]) -> TopKCounts:
    logits = model(IMAGES, training=False)["logits"].numpy()
    ranks = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(1)
    return TopKCounts(len(labels), int((ranks < 1).sum()), int((ranks < 5).sum()))


@pytest.mark.parametrize("sizes", [[50], [20, 20, 10], [1] * 50, [49, 1], [7, 43]])
def test_counts_are_numpy_s_for_any_batches(sizes: list[int]) -> None:
    model = network()
    expected = by_numpy(model, LABELS)
    assert 0 < expected.top_1 < expected.top_5 < expected.examples  # else this test would show little
    assert Evaluator(InceptionNetwork(model, 50)).count(batches(*sizes), World()) == expected


def test_the_background_class_competes() -> None:
    model = network()
    dense, evaluator = model.layers[-1], Evaluator(InceptionNetwork(model, 50))
    before = evaluator.count(batches(50), World())
    dense.bias.assign(np.eye(CLASSES)[0] * 1000.0)  # class 0 comes first for every image, and is nobody's label
    after = evaluator.count(batches(50), World())
    assert after.top_1 == 0 < before.top_1
    assert after == by_numpy(model, LABELS)
    assert after.top_5 < before.top_5


def test_with_fewer_than_five_classes_all_are_among_the_first_five() -> None:
    images, labels = IMAGES, LABELS % 3
    assert Evaluator(InceptionNetwork(network(3), 50)).count([(np.arange(50), images, labels)], World()).top_5 == 50


@pytest.mark.parametrize("moment", [0, BATCHES_PER_STOP_CHECK])
def test_a_rank_that_should_stop_counts_no_further(moment: int) -> None:
    seen = []

    def watched() -> Iterator[Any]:
        for batch in batches(*[1] * 50):
            seen.append(batch)
            yield batch

    assert Evaluator(InceptionNetwork(network(), 1)).count(watched(), World(), should_stop=lambda: len(seen) > moment) is None
    assert len(seen) == moment + 1


def test_empty_batches_count_nothing() -> None:
    model = network()
    assert Evaluator(InceptionNetwork(model, 50)).count([*batches(50, 0)], World()) == by_numpy(model, LABELS)


def test_a_rank_without_batches_counts_nothing() -> None:
    assert Evaluator(InceptionNetwork(network(), 1)).count(batches(), World()) == TopKCounts()


def test_an_example_has_the_same_bits_in_any_batch() -> None:
    network = InceptionNetwork(inception.build(6, 75), 16)
    images = GENERATOR.uniform(-1, 1, (16, 75, 75, 3)).astype(np.float32)
    full, order = network.logits(images), GENERATOR.permutation(16)
    for count in (1, 7, 13):
        assert np.array_equal(network.logits(images[:count]), full[:count])
    assert np.array_equal(network.logits(images[order]), full[order])


def test_an_example_without_a_number_is_no_hit() -> None:
    model = network()
    model.layers[-1].bias.assign(np.full(CLASSES, np.nan))
    assert Evaluator(InceptionNetwork(model, 50)).count(batches(50), World()) == TopKCounts(50, 0, 0)
