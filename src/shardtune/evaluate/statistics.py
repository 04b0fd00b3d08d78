"""The figures of an evaluation, as pure functions of its predictions. Sums are in float64 and rounded once (math.fsum)."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CALIBRATION_BINS = 15  # of Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def wilson_interval(hits: int, examples: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of Wilson 1927 for the probability of a hit, of which `hits` were seen in `examples` trials (1 or more)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def lower_end(hits: int) -> float:
        # The usual difference of center and half width, times their sum over itself: exactly 0 without hits.
        share, correction = hits / examples, z**2 / (2 * examples)
        return share**2 / (share + correction + z * math.sqrt(share * (1 - share) / examples + (correction / z) ** 2))

    return lower_end(hits), 1 - lower_end(examples - hits)


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is recognised; None where the quotient is 0 / 0.

    Attributes:
        support: examples with this label.
        precision: of the examples that are predicted as this class, the share with this label.
        recall: of the examples with this label, the share that is predicted as it.
        f1: harmonic mean of the two.
    """

    support: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_figures(labels: Integers, predicted: Integers, num_classes: int) -> list[ClassFigures]:
    """The figures of each class from labels and predicted classes [n]."""
    support, predictions, hits = (
        np.bincount(values, minlength=num_classes).tolist() for values in (labels, predicted, labels[labels == predicted])
    )
    return [
        ClassFigures(have, _quotient(hit, predict), _quotient(hit, have), _quotient(2 * hit, have + predict))
        for have, predict, hit in zip(support, predictions, hits, strict=True)
    ]


def confusion_matrix(labels: Integers, predicted: Integers, num_classes: int) -> Integers:
    """Examples by label (row) and predicted class (column): int64 [classes, classes]."""
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class CalibrationBin:
    """The examples whose highest probability is above `low` and at most `high` (the first bin has 0, too).

    Attributes:
        confidence: mean of their highest probabilities; None where there are no examples.
        precision: the share of them whose class of the highest probability is their label; None likewise.
    """

    low: float
    high: float
    examples: int
    confidence: float | None
    precision: float | None


def calibration_bins(confidences: Floats, hits: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> list[CalibrationBin]:
    """Equally wide bins of the highest probabilities [n], in 0 to 1, and of whether their classes are the labels [n]."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    numbers = np.searchsorted(edges[1:-1], confidences)
    found = []
    for number in range(bins):
        members = numbers == number
        examples = int(members.sum())
        confidence, precision = math.fsum(confidences[members]), int(hits[members].sum())
        low, high = edges[number : number + 2].tolist()
        found.append(CalibrationBin(low, high, examples, _quotient(confidence, examples), _quotient(precision, examples)))
    return found


def expected_calibration_error(bins: list[CalibrationBin]) -> float:
    """The mean over examples of |precision − confidence| of their bin: equation 3 of Guo et al. 2017."""
    examples = sum(each.examples for each in bins)
    gaps = (each.examples * abs(each.precision - each.confidence) for each in bins if each.examples)  # type: ignore[operator]
    return math.fsum(gaps) / examples


def _quotient(part: float, whole: int) -> float | None:
    return part / whole if whole else None
