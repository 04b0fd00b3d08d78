"""What a person can ask for: one frozen dataclass for each command, the one source of flags, defaults, help and JSON."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shardtune.dataset.manifest import Split
from shardtune.errors import UsageError

DEFAULT_EPOCHS = 10


def _require(holds: bool, rule: str, received: object) -> None:
    if not holds:
        raise UsageError(f"{rule}, but {received} was given: see --help.")


@dataclass(frozen=True)
class BuildConfig:
    """Turn a folder of labelled images (one sub-folder a class) into sharded TFRecords. Runs on any number of MPI ranks."""

    train_directory: Path
    """Folder of training images: train_directory/label/image.jpg."""
    output_directory: Path
    """Where shards, labels.txt and dataset.json go; made if it does not exist."""
    validation_directory: Path | None = None
    """Folder of validation images, laid out like train_directory."""
    validation_fraction: float = 0.0
    """Without a validation_directory: the share (0 to 1) of each class in train_directory held out for validation."""
    validation_examples: int = 0
    """Without a validation_directory: how many images of train_directory are held out, from each class in proportion."""
    labels_file: Path | None = None
    """Class names, one a line: the first has label 1. Without it, the sorted sub-folders of train_directory."""
    ignore_unlisted: bool = False
    """Leave out folders that labels_file does not list, which is an error otherwise."""
    bounding_box_file: Path | None = None
    """CSV of objects: filename,xmin,ymin,xmax,ymax[,label].
    filename: the path from the split's directory, or its last part alone; with or without the extension.
    xmin to ymax: shares (0 to 1) of the upright image as people see it, from its left and its top.
    label: a class name or number; without it, the image's."""
    train_shards: int = 128
    """Number of training shards."""
    validation_shards: int = 24
    """Number of validation shards."""
    seed: int = 0
    """Decides the order of the examples and what is held out."""
    duplicates: Literal["keep", "skip"] = "keep"
    """Identical files are always reported; skip stores one of them, in validation where one is there."""
    check: Literal["full", "header"] = "full"
    """full: every image is decoded to its end. header: the pixel data of clean JPEGs is trusted, which is faster."""
    exif: Literal["upright", "keep"] = "upright"
    """upright: turn images as their EXIF orientation says. keep: leave them as they lie."""
    max_side: int | None = None
    """Scale images down so that their longer side has at most so many pixels."""
    quality: int = 95
    """JPEG quality (1 to 100) of images that must be encoded anew; clean RGB JPEGs keep their bytes."""
    max_rejects: int = 0
    """How many images may be unusable before the build fails; each is listed in rejects.jsonl."""
    overwrite: bool = False
    """Replace what another build, finished or not, left in output_directory."""
    num_threads: int = 1
    """Accepted for command lines of research/inception, and without effect: ranks share the work (mpirun -n 8)."""

    def __post_init__(self) -> None:
        for name in ("train_shards", "validation_shards", "num_threads"):
            _require(getattr(self, name) > 0, f"{name} is at least 1", getattr(self, name))
        for name in ("max_rejects", "validation_examples"):
            _require(getattr(self, name) >= 0, f"{name} is at least 0", getattr(self, name))
        _require(0 <= self.validation_fraction < 1, "validation_fraction lies in 0 to 1", self.validation_fraction)
        _require(self.max_side is None or self.max_side > 0, "max_side is at least 1", self.max_side)
        _require(1 <= self.quality <= 100, "quality lies in 1 to 100", self.quality)
        _require(-(2**63) <= self.seed < 2**63, "seed is a 64-bit integer", self.seed)
        _require(
            not self.ignore_unlisted or self.labels_file is not None,
            "ignore_unlisted goes with labels_file",
            "--ignore_unlisted alone",
        )
        _require(
            self.exif == "upright" or self.bounding_box_file is None,
            "Bounding boxes are those of upright images",
            "--exif keep with bounding_box_file",
        )
        sources = ("validation_directory", "validation_fraction", "validation_examples")
        given = [name for name in sources if getattr(self, name)]
        _require(len(given) < 2, f"Validation images come from one of {', '.join(sources)}", " and ".join(given))


@dataclass(frozen=True)
class VerifyConfig:
    """Find every bit of a data set that is not as it was written. Runs on any number of MPI ranks."""

    data_dir: Path
    """Data directory to check."""


@dataclass(frozen=True)
class InspectConfig:
    """Show what a data set holds: counts, classes, sizes, how it was made, and examples of each class as a picture."""

    data_dir: Path
    """Data directory to look at."""
    output: Path = Path("contact.png")
    """Where the picture goes (PNG): the first 8 training examples of each of the first 50 classes."""


@dataclass(frozen=True)
class TrainConfig:
    """Fine-tune Inception v3 on a data set that `shardtune build` made. Runs on any number of Horovod workers."""

    data_dir: Path
    """Data directory: classes and counts are read from its dataset.json."""
    train_dir: Path
    """Run directory: checkpoints, metrics.jsonl, config.json. A run that was cut short goes on from its last checkpoint."""
    pretrained_model_checkpoint_path: Path | None = None
    """Weights to start from, of whatever kind: the release inception-v3-2016-03-01 (its folder or model.ckpt-157585), TF-Slim's
    inception_v3.ckpt, a Keras .h5, .weights.h5 or .keras file of InceptionV3, or the train_dir of another run."""
    pretrained_ema: bool = False
    """Start from the averaged weights (ExponentialMovingAverage) that the release and runs of shardtune hold too."""
    fine_tune: bool = False
    """Start the final layers (logits and auxiliary logits) at random: for another set of classes than the checkpoint's."""
    freeze_until: str | None = None
    """Keep this block of Inception v3 (mixed0 … mixed10) and all below it as they are: faster, and better on little data."""
    freeze_trunk: bool = False
    """Train the final layers and the auxiliary head alone: the same as --freeze_until mixed10."""
    image_size: int = 299
    """Side in pixels of the square that the network sees, 75 or more. Below 107 there is no auxiliary head."""
    batch_size: int = 32
    """Examples per worker and step: the global batch is this times the number of workers."""
    epochs: float | None = None
    """Passes over the training split (default: 10 unless max_steps is given)."""
    max_steps: int | None = None
    """Steps to train, each of one global batch; never divided by the number of workers."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """sgd: Nesterov momentum 0.9. adam: Adam with its usual constants."""
    initial_learning_rate: float = 0.001
    """Learning rate of one worker. It climbs to this times the number of workers, then falls to 0 along a cosine."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the activations; weights and logits stay float32. mixed_float16 scales the loss, by a factor that it finds itself."""
    batch_norm: Literal["per_worker", "synced", "frozen"] = "per_worker"
    """per_worker: each worker normalises by its own examples. synced: by those of all workers, as one with the whole batch
    would. frozen: by the moving statistics of the checkpoint, which then do not change."""
    batch_norm_decay: float = 0.9
    """Decay of the moving mean and variance of batch normalisation. The reference's 0.9997 is for 10,000 steps and more."""
    moving_average_decay: float = 0.9999
    """Decay of the averaged weights, which evaluation uses; at step n it is at most (1 + n) / (10 + n)."""
    augment: Literal["light", "none"] = "light"
    """light: random crop, flip and mild colour. none: the central crop that evaluation sees."""
    seed: int = 0
    """Decides initial weights, the order of examples, and augmentation."""
    save_every: int = 500
    """Steps between checkpoints; the last step always gets one."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        _require(self.image_size >= 75, "image_size is at least 75 pixels", self.image_size)
        for name in ("batch_size", "save_every", "log_every", "initial_learning_rate"):
            _require(getattr(self, name) > 0, f"{name} is above 0", getattr(self, name))
        for name in ("batch_norm_decay", "moving_average_decay"):
            _require(0 <= getattr(self, name) < 1, f"{name} lies in 0 to 1", getattr(self, name))
        _require(
            self.epochs is None or self.max_steps is None,
            "The length of a run is given by epochs or by max_steps, not by both",
            f"--epochs {self.epochs} --max_steps {self.max_steps}",
        )
        for name in ("epochs", "max_steps"):
            value = getattr(self, name)
            _require(value is None or 0 < value < math.inf, f"{name} is above 0 and finite", value)
        starts = {
            "fine_tune": self.fine_tune,
            "pretrained_ema": self.pretrained_ema,
            "batch_norm frozen": self.batch_norm == "frozen",
        }
        for name, given in starts.items():
            _require(
                not given or self.pretrained_model_checkpoint_path is not None,
                f"{name} starts from pretrained_model_checkpoint_path",
                f"--{name} alone",
            )
        _require(
            not (self.freeze_trunk and self.freeze_until),
            "What is frozen is given by freeze_until or by freeze_trunk, not by both",
            f"--freeze_trunk --freeze_until {self.freeze_until}",
        )

    def steps(self, examples: int, workers: int) -> int:
        """Steps of the whole run over `examples` training examples: finite whatever was asked."""
        if self.max_steps is not None:
            return self.max_steps
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        return max(1, round(epochs * examples / (self.batch_size * workers)))


@dataclass(frozen=True)
class EvalConfig:
    """Measure precision@1 and recall@5 of a run's newest checkpoint, every example once. Runs on any number of workers."""

    data_dir: Path
    """Data directory with the examples to evaluate."""
    checkpoint_dir: Path
    """The train_dir of a run."""
    eval_dir: Path
    """Where eval.json is written; made if it does not exist."""
    subset: Split = "validation"
    """Split to evaluate."""
    num_examples: int | None = None
    """Evaluate only the first so many examples (default: all)."""
    batch_size: int = 50
    """Examples per worker and step."""
    ema: bool = True
    """Evaluate the averaged weights; --no_ema: those of the last step."""

    def __post_init__(self) -> None:
        _require(self.batch_size > 0, "batch_size is above 0", self.batch_size)
        _require(self.num_examples is None or self.num_examples > 0, "num_examples is above 0", self.num_examples)


def as_json(config: object) -> dict[str, Any]:
    """The fields of a config dataclass as JSON values; paths as text."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(config).items()  # type: ignore[call-overload]
    }
