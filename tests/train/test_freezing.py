"""What is frozen in Inception v3 itself, at 75 pixels: nothing of it moves, and nothing is kept for it."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from shardtune.model import inception
from shardtune.model.averages import Averages
from shardtune.model.inception import changing_variables, named_variables
from shardtune.train.step import make_optimizer, make_step
from shardtune.world import World

BATCH, STEPS = 4, 20


@pytest.mark.parametrize(
    ("freeze_until", "trains"),
    [("mixed8", ("mixed_8x8x2048a/", "mixed_8x8x2048b/", "logits/")), (inception.WHOLE_TRUNK, ("logits/",))],
)
def test_frozen_parts_are_bit_identical_after_20_steps(freeze_until: str, trains: tuple[str, ...]) -> None:
    model = inception.build(4, 75, freeze_until=freeze_until)
    optimizer, averages = make_optimizer("sgd", model), Averages(changing_variables(model), 0.99)
    step = make_step(model, optimizer, averages, None, World(), batch_size=BATCH, seed=0)
    generator = np.random.default_rng(0)

    def digests() -> dict[str, str]:
        return {n: hashlib.sha256(variable.numpy().tobytes()).hexdigest() for n, variable in named_variables(model).items()}

    before = digests()
    for number in range(STEPS):
        images = generator.uniform(-1, 1, (BATCH, 75, 75, 3)).astype(np.float32)
        step(tf.constant(number, tf.int64), images, generator.integers(1, 4, BATCH), tf.constant(0.01))
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {name for name in before if name.startswith(trains)}

    weights = [name for name in before if name.startswith(trains) and "moving" not in name]
    assert len(optimizer.variables) == 2 + len(weights)  # iterations and learning rate, and one momentum for each
    assert {name.rpartition("/")[0] for name in averages.variables} == {name for name in before if name.startswith(trains)}
