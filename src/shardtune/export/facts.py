"""What a model card tells of a trained model, and of the files that were made of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import Split
from shardtune.evaluate.predictions import BACKGROUND


@dataclass(frozen=True)
class ModelFacts:
    """A trained model.

    Attributes:
        run: the run directory.
        config: config.json of the run.
        step: after how many steps its weights were saved.
        is_best: whether they were chosen by validation.
        averaged: whether they are averaged weights.
        image_size: side of the network's images in pixels.
        background: whether the background class is given out.
        data_dir, manifest: the data set.
        evaluation: eval.json of these weights on this data set; None if there is none.
    """

    run: Path
    config: Mapping[str, Any]
    step: int
    is_best: bool
    averaged: bool
    image_size: int
    background: bool
    data_dir: Path
    manifest: Manifest
    evaluation: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """That of the run directory."""
        return printable(self.run.absolute().name)

    @property
    def data_name(self) -> str:
        """That of the data directory."""
        return printable(self.data_dir.absolute().name)

    @property
    def conversion(self) -> dict[str, Any]:
        """The options of `build` that decide the pixels of its images; empty where another tool wrote the shards."""
        options = self.manifest.provenance
        return {name: options[name] for name in ("exif", "max_side", "quality") if name in options}

    @property
    def first_class(self) -> int:
        """The lowest label that is given out: output i stands for label i + first_class."""
        return 0 if self.background else 1

    @property
    def classes(self) -> list[str]:
        """The name of each output, on one line. To names that several classes have, their label is added."""
        titles = [" ".join(title.split()) for title in [BACKGROUND, *self.manifest.titles][self.first_class :]]
        count = Counter(titles)
        return [
            title if count[title] == 1 else f"{title} ({label})" for label, title in enumerate(titles, start=self.first_class)
        ]

    @property
    def check_split(self) -> Split:
        """The split whose images check an export."""
        return "validation" if self.manifest.examples("validation") else "train"


@dataclass(frozen=True)
class Comparison:
    """An export beside the trained model.

    Attributes:
        examples: of the validation split, or of the training split where there is none, that both have predicted.
        largest_difference: of a probability that the export gives out.
        bound: above which that is an error.
        precision_at_1_before, precision_at_1_after: of the trained model and of the export on these examples, 0 to 1.
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


@dataclass(frozen=True)
class ExportResult:
    """What an export has left.

    Attributes:
        directory: with the models, labels.txt, model.json and README.md.
        checks: how each file differs from the trained model, by its name.
    """

    directory: Path
    checks: dict[str, Comparison]

    @property
    def paths(self) -> list[Path]:
        """The exported models."""
        return [self.directory / name for name in self.checks]


def printable(name: str) -> str:
    """The name of a file with ? for what is not UTF-8."""
    return name.encode(errors="replace").decode()
