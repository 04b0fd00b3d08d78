"""The figures beside those of scikit-learn and SciPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix as confusion_matrix_of_sklearn
from sklearn.metrics import precision_recall_fscore_support

from shardtune.evaluate.statistics import (
    calibration_bins,
    class_figures,
    confusion_matrix,
    expected_calibration_error,
    wilson_interval,
)

CLASSES = 7


def sample(seed: int, examples: int) -> tuple[Any, Any]:
    """Labels and predictions that often agree; class 5 is nobody's label, class 6 neither label nor prediction."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, examples)
    return labels, np.where(generator.random(examples) < 0.6, labels, generator.integers(0, 6, examples))


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_s_interval(trials: tuple[int, int]) -> None:
    interval = binomtest(*trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(*trials) == pytest.approx((interval.low, interval.high), rel=0, abs=1e-12)


@pytest.mark.parametrize("trials", [(0, 1), (1, 1), (0, 10), (10, 10), (0, 50_000), (50_000, 50_000)])
def test_an_interval_ends_at_0_and_1(trials: tuple[int, int]) -> None:
    low, high = wilson_interval(*trials)
    assert (low == 0) is (trials[0] == 0)
    assert (high == 1) is (trials[0] == trials[1])


@pytest.mark.parametrize("examples", [1, 7, 500])
def test_the_figures_of_classes(examples: int) -> None:
    labels, predicted = sample(examples, examples)
    found = class_figures(labels, predicted, CLASSES)
    expected = precision_recall_fscore_support(labels, predicted, labels=range(CLASSES), zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        ours = np.array([getattr(figures, name) for figures in found], np.float64)  # None becomes NaN
        np.testing.assert_allclose(ours, values, rtol=0, atol=1e-12)
    assert np.array_equal(
        confusion_matrix(labels, predicted, CLASSES), confusion_matrix_of_sklearn(labels, predicted, labels=range(CLASSES))
    )


def test_a_class_that_nobody_is_and_that_is_never_predicted_has_no_figures() -> None:
    figures = class_figures(np.array([1, 1]), np.array([1, 2]), 4)[3]
    assert (figures.support, figures.precision, figures.recall, figures.f1) == (0, None, None, None)


@pytest.mark.parametrize("seed", range(4))
def test_bins_of_calibration(seed: int) -> None:
    generator = np.random.default_rng(seed)
    confidences = np.append(generator.beta(4, 1.5, 400), [0.0, 1.0, 0.2, 1 / 3, 0.6])  # and edges of bins
    hits = generator.random(len(confidences)) < confidences**2
    bins = calibration_bins(confidences, hits)
    precisions, means = calibration_curve(hits, confidences, n_bins=len(bins), strategy="uniform")
    used = [each for each in bins if each.examples]
    np.testing.assert_allclose([each.precision for each in used], precisions, rtol=0, atol=1e-12)
    np.testing.assert_allclose([each.confidence for each in used], means, rtol=0, atol=1e-12)
    assert all(each.low <= each.confidence <= each.high for each in used if each.confidence is not None)
    assert all(each.confidence is None and each.precision is None for each in bins if not each.examples)
    shares = np.array([each.examples for each in used]) / len(confidences)
    assert expected_calibration_error(bins) == pytest.approx((shares * abs(precisions - means)).sum(), rel=0, abs=1e-12)


def test_sums_do_not_depend_on_the_order() -> None:
    generator = np.random.default_rng(1)
    confidences, hits, order = generator.random(1000), generator.random(1000) < 0.5, generator.permutation(1000)
    assert calibration_bins(confidences, hits) == calibration_bins(confidences[order], hits[order])
