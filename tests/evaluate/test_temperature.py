import math
import tempfile
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from shardtune.evaluate.temperature import LogitsFile, find_minimum, fit_temperature
from shardtune.runtime.world import World


def sample(examples: int, classes: int, confidence: float) -> tuple[Any, Any]:
    """Labels and logits, `confidence` times those with which the labels were drawn."""
    generator = np.random.default_rng(classes)
    logits = generator.normal(0, 2, (examples, classes)).astype(np.float32)
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return labels, (logits * confidence + generator.normal(0, 50, (examples, 1))).astype(np.float32)


def fitted(labels: Any, logits: Any, batch: int) -> float | None:
    file = LogitsFile()
    for start in range(0, len(labels), batch):
        file.add(labels[start : start + batch], logits[start : start + batch])
    temperature = fit_temperature(file, World())
    file.close()
    return temperature


@pytest.mark.parametrize("confidence", [0.1, 1.0, 3.0, 20.0])
def test_it_is_the_minimum_that_scipy_finds(confidence: float) -> None:
    labels, logits = sample(2000, 6, confidence)

    def loss(logarithm: float) -> float:
        return -float(log_softmax(logits.astype(np.float64) / math.exp(logarithm), axis=1)[np.arange(2000), labels].mean())

    best = minimize_scalar(loss, bounds=(math.log(0.01), math.log(100)), method="bounded", options={"xatol": 1e-12})
    temperature = fitted(labels, logits, 50)
    assert temperature == pytest.approx(math.exp(best.x), rel=1e-6)
    assert temperature == pytest.approx(confidence, rel=0.1)
    assert loss(math.log(temperature)) <= best.fun * (1 + 1e-14)


def test_the_order_of_batches_changes_no_bit() -> None:
    labels, logits = sample(500, 6, 3.0)
    order = np.concatenate(np.split(np.arange(500), 10)[::-1])
    assert fitted(labels, logits, 50) == fitted(labels[order], logits[order], 50)


def test_where_no_temperature_is_the_best_there_is_none() -> None:
    labels, logits = sample(100, 4, 1.0)
    assert fitted(logits.argmax(1), logits, 50) is None  # colder is always better
    assert fitted(logits.argmin(1), logits, 50) is None  # hotter is always better
    assert fitted(labels, np.zeros_like(logits), 50) is None
    assert fitted(labels[:0], logits[:0], 50) is None


@pytest.mark.parametrize("minimum", [0.0100001, 0.5, 1.0, 7.0, 99.999])
def test_a_minimum_where_newton_s_steps_go_astray(minimum: float) -> None:
    def derivatives(x: float) -> tuple[float, float]:  # of a function with a nearly flat branch on each side
        return math.tanh(20 * (x - minimum)), 20 / math.cosh(min(300.0, 20 * abs(x - minimum))) ** 2

    assert find_minimum(derivatives, 0.01, 100.0) == pytest.approx(minimum, rel=1e-9)


def test_closing_it_on_a_full_disk_hides_no_error_that_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115, PTH123
    file = LogitsFile()
    file.add(np.zeros(1, np.int64), np.zeros((1, 2), np.float32))
    file.close()
