"""The flags of `shardtune fetch`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardtune.config import WeightSource, check_flag, check_flags, check_types


@dataclass(frozen=True)
class FetchConfig:
    """Download photographs of flowers and build a data set of them, or download pretrained weights. What is there and whole is
    not downloaded again."""

    what: Literal["flowers", "inception-v3"]
    """flowers: 3,670 photographs of five kinds, as shards for train and eval in the directory; the photographs stay in raw-data
    below it. inception-v3: weights for --pretrained_model_checkpoint_path of train; their path is printed last."""
    directory: Path
    """Where to put them; created if it does not exist."""
    source: WeightSource | None = None
    """Of inception-v3. 2016 (default): the release 2016-03-01, which the tutorials name. slim: TF-Slim's of 2016-08-28.
    keras, keras_notop: Keras's file with or without its top; it has no auxiliary head."""
    url: str = ""
    """Take the file from this address, or from this path, and not from where it is published."""
    sha256: str = ""
    """Digest that the file must have, in place of the published one: for another archive of photographs, with its class folders
    in flower_photos/."""
    validation_examples: int = 500
    """Of flowers: photographs to hold out for validation, drawn at random from the classes in proportion."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flags(
            self.source is None or self.what == "inception-v3",
            f"--source {self.source} is a source of inception-v3, not of {self.what}.",
            "Leave out --source.",
        )
        check_flag(re.fullmatch("([0-9a-fA-F]{64})?", self.sha256) is not None, "sha256 must have 64 digits", self.sha256)
        check_flag(self.validation_examples > 0, "validation_examples must be at least 1", self.validation_examples)
