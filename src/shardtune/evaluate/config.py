"""The flags of `shardtune eval`."""

from dataclasses import dataclass
from pathlib import Path

from shardtune.config import OnCorrupt, check_checkpoint_choice, check_flag, check_flags, check_types
from shardtune.dataset.splits import Split


@dataclass(frozen=True)
class EvalConfig:
    """Measure precision@1 and recall@5 of a run, and more, on every example once, with any number of workers."""

    checkpoint_dir: Path
    """--model is the same flag. The train_dir of a run, or its checkpoints folder; or an export, or one model in it
    (export/model.onnx); or what research/inception (2016) or TF-Slim left: the directory, or one checkpoint in it
    (old/model.ckpt-1999). The order of its classes must be that of the data set."""
    data_dir: Path | None = None
    """Data directory with the examples to evaluate (default: that of the run)."""
    eval_dir: Path | None = None
    """Directory for eval.json and predictions.csv; it is created if it does not exist (default: eval in the
    train_dir, or in the export). The subsets test and train go into a folder of that name in it."""
    checkpoint: str | None = None
    """best by validation, last, or the step of one (default: best where the run was validated, else last)."""
    subset: Split = "validation"
    """Split to evaluate."""
    num_examples: int | None = None
    """Evaluate only this many examples, from the first on (default: all)."""
    batch_size: int = 50
    """Examples per worker and step."""
    image_size: int | None = None
    """Side in pixels of the square that the network sees (default: that of the run; 299 for a checkpoint of TensorFlow 1)."""
    on_corrupt: OnCorrupt = "error"
    """At a record whose checksum does not match, error: stop. skip: leave it out of the count."""
    run_once: bool = True
    """--run_once=False: wait for the next checkpoint and evaluate it, too, until a signal ends the command (status 75)."""
    eval_interval_secs: int = 300
    """Seconds before it looks for the next checkpoint."""
    ema: bool = True
    """Evaluate the averaged weights; --no_ema: the weights of the last step."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and reports which rank is late."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flag(self.batch_size > 0, "batch_size must be above 0", self.batch_size)
        check_flag(self.image_size is None or self.image_size >= 75, "image_size must be at least 75 pixels", self.image_size)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)
        check_flag(self.eval_interval_secs > 0, "eval_interval_secs must be above 0", self.eval_interval_secs)
        check_checkpoint_choice(self.checkpoint)
        check_flags(
            self.run_once or self.checkpoint in (None, "last"),
            f"--run_once=False evaluates each new checkpoint, and --checkpoint {self.checkpoint} one.",
            "Leave out one of the two.",
        )
        check_flag(self.num_examples is None or self.num_examples > 0, "num_examples must be above 0", self.num_examples)
