"""What a model card tells of a trained model, and of the files that were made of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.manifest import Manifest, Split
from shardtune.evaluate.predictions import BACKGROUND


@dataclass(frozen=True)
class ModelFacts:
    """A trained model.

    Attributes:
        run: the run directory.
        config: config.json of the run.
        step: after how many steps its weights were saved.
        averaged: whether they are averaged weights.
        background: whether the background class is given out.
        data_dir, manifest: the data set.
        evaluation: eval.json of these weights; None if there is none.
    """

    run: Path
    config: Mapping[str, Any]
    step: int
    averaged: bool
    background: bool
    data_dir: Path
    manifest: Manifest
    evaluation: Mapping[str, Any] | None

    @property
    def image_size(self) -> int:
        """Side of the network's images in pixels."""
        return int(self.config["config"]["image_size"])

    @property
    def first_class(self) -> int:
        """The lowest label that is given out: output i stands for label i + first_class."""
        return 0 if self.background else 1

    @property
    def classes(self) -> list[str]:
        """The name of each output."""
        return [*([BACKGROUND] if self.background else []), *self.manifest.labels]

    @property
    def check_split(self) -> Split:
        """The split whose images check an export."""
        return "validation" if self.manifest.examples("validation") else "train"


@dataclass(frozen=True)
class Comparison:
    """An export beside the trained model.

    Attributes:
        largest_difference: of a probability that the export gives out.
        bound: above which that is an error.
    """

    examples: int
    largest_difference: float
    bound: float
    precision_at_1_before: float
    precision_at_1_after: float

    def __str__(self) -> str:
        return (
            f"probabilities differ by at most {self.largest_difference:.2g} (bound {self.bound:g}), precision @ 1 = "
            f"{self.precision_at_1_after:.4f}, before {self.precision_at_1_before:.4f} [{self.examples} examples]"
        )

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)
