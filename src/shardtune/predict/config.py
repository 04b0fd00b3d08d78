"""The flags of `shardtune predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from shardtune.config import check_checkpoint_choice, check_flag, check_flags, check_types
from shardtune.dataset.splits import Split

Format = Literal["csv", "jsonl", "table"]


@dataclass(frozen=True)
class PredictConfig:
    """Say which classes images show, with any number of workers: files, folders, a data set, or paths from another program."""

    checkpoint_dir: Path
    """--model is the same flag. The train_dir of a run, or its checkpoints folder; or an export, or one model in it
    (export/model.onnx); or what research/inception (2016) or TF-Slim left, with the --data_dir whose classes it has."""
    paths: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATHS", help_behavior_hint="")]] = ()
    """Files; folders, with all below them; patterns ('photos/**/*.jpg'); data directories; - for paths on stdin, one a line."""
    top_k: int = 5
    """Classes to name for each image, the most probable ones."""
    format: Format | None = None
    """csv, jsonl or table (default: table on a terminal, else csv)."""
    output: Path | None = None
    """File for the predictions; it appears when all are made (default: stdout)."""
    data_dir: Path | None = None
    """The run's data set, which says how build made its images, and the words of ImageNet's classes (default: where the run had
    it)."""
    subset: Split = "validation"
    """Split of a data directory."""
    checkpoint: str | None = None
    """best by validation, last, or the step of one (default: best where the run was validated, else last)."""
    ema: bool = True
    """Use the averaged weights; --no_ema: the weights of the last step."""
    batch_size: int | None = None
    """Images per worker and step (default: 50, as eval; or as many as files are named, if nothing else is and these are fewer).
    With that of eval, probabilities are those of eval to the last digit."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and reports which rank is late."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flags(
            bool(self.paths), "shardtune predict was given no path.", "Name files or folders, or - for paths from stdin."
        )
        check_flag(self.top_k > 0, "top_k must be above 0", self.top_k)
        check_checkpoint_choice(self.checkpoint)
        check_flag(self.batch_size is None or self.batch_size > 0, "batch_size must be above 0", self.batch_size)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)
