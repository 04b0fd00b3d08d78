"""What is frozen in Inception v3 itself, at 75 pixels: nothing of it moves, and nothing is kept for it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from shardtune.model import inception
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import named_variables
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep

BATCH, STEPS = 4, 20


@pytest.mark.parametrize(
    ("freeze_until", "trains"),
    [("mixed8", ("mixed_8x8x2048a/", "mixed_8x8x2048b/", "logits/")), (inception.WHOLE_TRUNK, ("logits/",))],
)
def test_frozen_parts_are_bit_identical_after_20_steps(freeze_until: str, trains: tuple[str, ...]) -> None:
    model = inception.build(4, 75, freeze_until=freeze_until)
    config = TrainConfig(Path(), Path(), batch_size=BATCH)
    state = TrainState(model, config)
    step = TrainStep(state, World(), config, BATCH)
    generator = np.random.default_rng(0)

    def digests() -> dict[str, str]:
        return {n: hashlib.sha256(variable.numpy().tobytes()).hexdigest() for n, variable in named_variables(model).items()}

    before = digests()
    for number in range(STEPS):
        images = generator.uniform(-1, 1, (BATCH, 75, 75, 3)).astype(np.float32)
        step([(images, generator.integers(1, 4, BATCH))], number, 0.01, stop_requested=False)()
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {name for name in before if name.startswith(trains)}

    weights = [name for name in before if name.startswith(trains) and "moving" not in name]
    saved = state.snapshot()
    momenta = {name.removeprefix("optimizer/momentum/") for name in saved if name.startswith("optimizer/momentum/")}
    assert momenta == set(weights)
    averaged = {name.removesuffix(EMA_SUFFIX) for name in saved if name.endswith(EMA_SUFFIX)}
    assert averaged == {name for name in before if name.startswith(trains)}
