"""The flags of `shardtune report`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from shardtune.config import check_flag, check_flags, check_types


@dataclass(frozen=True)
class ReportConfig:
    """Show runs as one HTML page that needs no network: curves, confusions, mistakes, calibration, data set, configuration."""

    train_dir: tyro.conf.UseAppendAction[tuple[Path, ...]]
    """Run directory, also of a run that is going. Repeated: several runs side by side."""
    output: Path | None = None
    """File for the page. Beside it, as ….labels.csv: labels that are probably wrong. Default: report.html in the first
    train_dir, and README.md, the model card, in each that was evaluated."""
    eval_dir: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Directory with eval.json and predictions.csv; one for each train_dir (default: that of the newest evaluation of any
    split, in the train_dir or in eval in it)."""
    data_dir: Path | None = None
    """Data directory with the photographs (default: that of each run)."""
    augmented: bool = False
    """Show training examples as the network sees them, too: takes the time in which TensorFlow starts."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flags(len(self.train_dir) > 0, "shardtune report was given no --train_dir.", "Name the directory of a run.")
        check_flag(
            len(self.eval_dir) in (0, len(self.train_dir)), "eval_dir must be given once for each train_dir", len(self.eval_dir)
        )
