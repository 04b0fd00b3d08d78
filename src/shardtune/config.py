"""What a person can ask for: one frozen dataclass for each command, the one source of flags, defaults, help and JSON."""

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shardtune.dataset.manifest import Split
from shardtune.errors import UsageError

DEFAULT_EPOCHS = 10
Optimizer = Literal["sgd", "rmsprop", "adam", "adamw"]
Scaling = Literal["linear", "sqrt", "none"]
Decay = Literal["constant", "exponential", "cosine", "step"]
Compression = Literal["none", "fp16"]
Augmentation = Literal["inception", "light", "none"]
OnCorrupt = Literal["error", "skip"]


def _require(holds: bool, rule: str, received: object) -> None:
    if not holds:
        raise UsageError(f"{rule}, but {received} was given: see --help.")


@dataclass(frozen=True)
class BuildConfig:
    """Turn a folder of labelled images (one sub-folder a class) into sharded TFRecords. Runs on any number of MPI ranks."""

    train_directory: Path
    """Folder of training images: train_directory/label/image.jpg. A label of which no image is usable is an error."""
    output_directory: Path
    """Where shards, labels.txt and dataset.json go; made if it does not exist."""
    validation_directory: Path | None = None
    """Folder of validation images, laid out like train_directory."""
    validation_fraction: float = 0.0
    """Without a validation_directory: the share (0 to 1) of each class in train_directory held out for validation.
    A class of a single image is only trained on."""
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
    """Replace what another build left in output_directory, or a finished data set."""
    num_threads: int = 1
    """Without effect, for command lines of research/inception: a rank is one thread, and mpirun -n 8 starts 8 of them."""

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
    augmented: bool = False
    """Show instead what the network sees of 8 training examples: under each --augment of train, several times."""


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
    """Examples that a worker holds in memory at once: the global batch is this times the number of workers times accumulate.
    It is fixed at the first start: another number of workers shares the same global batch."""
    accumulate: int = 1
    """Batches that each worker goes through for one step."""
    epochs: float | None = None
    """Passes over the training split (default: 10 unless max_steps is given)."""
    max_steps: int | None = None
    """Steps to train, each of one global batch; never divided by the number of workers."""
    optimizer: Optimizer = "sgd"
    """sgd: Nesterov momentum 0.9. rmsprop: that of research/inception (decay 0.9, momentum 0.9, epsilon 1.0).
    adam, adamw: with their usual constants."""
    weight_decay: float = 0.00004
    """L2 loss: this times half the sum of squares of all convolution and dense kernels. adamw decays apart from the loss."""
    clip_norm: float | None = None
    """Scale the gradients down where their global norm is above this."""
    initial_learning_rate: float = 0.001
    """Learning rate of one worker with one batch. It climbs to this times the scale, then decays."""
    lr_scaling: Scaling = "linear"
    """The scale: workers × accumulate, its square root, or 1. It is fixed at the first start."""
    warmup_epochs: float = 5.0
    """Epochs until the full learning rate; at most a tenth of the run."""
    learning_rate_decay: Decay = "cosine"
    """constant. exponential: times learning_rate_decay_factor every num_epochs_per_decay, as research/inception.
    cosine: to 0 at the end. step: times 0.1 at 3/9, 6/9 and 8/9 of the run."""
    num_epochs_per_decay: float = 30.0
    """Epochs between two factors of the exponential decay."""
    learning_rate_decay_factor: float = 0.16
    """Factor of the exponential decay."""
    show_schedule: bool = False
    """Show the learning rate as a table and a small plot, and do not train."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the activations; weights and logits stay float32. mixed_float16 scales the loss, by a factor that it finds itself."""
    batch_norm: Literal["per_worker", "synced", "frozen"] = "per_worker"
    """per_worker: each worker normalises by its own examples. synced: by those of all workers, as one with the whole batch
    would. frozen: by the moving statistics of the checkpoint, which then do not change."""
    batch_norm_decay: float = 0.9
    """Decay of the moving mean and variance of batch normalisation. The reference's 0.9997 is for 10,000 steps and more."""
    moving_average_decay: float = 0.9999
    """Decay of the averaged weights, which evaluation uses; at step n it is at most (1 + n) / (10 + n)."""
    augment: Augmentation = "light"
    """inception: the distortions of research/inception, for training from random weights: crops of 5 to 100 % around
    bounding boxes, flip, four ways of resizing, strong colour. light: crops of 35 to 100 %, flip, mild colour.
    none: the central crop that evaluation sees."""
    on_corrupt: OnCorrupt = "error"
    """error: stop at a record whose checksum does not match. skip: take the next sound one instead, and count."""
    input_queue_memory_factor: int = 1
    """How many times 1,024 records each worker may hold between disk and decoder: each is about 60 MB for photographs of
    60 KB, and reading takes up to 30 MB more. Decoded images (1.1 MB each at 299 pixels) come on top: up to 3 batches.
    The order of examples does not depend on it."""
    seed: int = 0
    """Decides initial weights, the order of examples, and augmentation; at least 0."""
    deterministic: bool = False
    """The same bits from every run with the same number of workers; slower."""
    compression: Compression = "none"
    """fp16: gradients travel between workers in half precision."""
    save_every: int = 500
    """Steps between checkpoints; the last step always gets one."""
    save_minutes: float | None = None
    """Minutes after which a checkpoint is written before its step comes."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay; the best by validation stays too."""
    validate_every: int | None = None
    """Steps between validations; without it, validate_epochs counts."""
    validate_epochs: float = 1.0
    """Epochs between validations; 0: none."""
    patience: int | None = None
    """End the run after so many validations without a better one."""
    time_limit: str | None = None
    """Stop with a checkpoint after so long: 3h55m, 90m, 20s."""
    hang_timeout: float = 600.0
    """Seconds without a step after which the job ends and says which rank is late."""
    allow_config_change: bool = False
    """Go on with a run although flags have changed since it began."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    histograms: bool = False
    """Weights and activations as TensorBoard histograms at every validation."""
    profile: str | None = None
    """First and last step of a TensorBoard trace: 10,20."""
    timeline: bool = False
    """Write Horovod's timeline of this run to timeline.json in train_dir."""

    def __post_init__(self) -> None:
        _require(self.image_size >= 75, "image_size is at least 75 pixels", self.image_size)
        positive = (
            *("batch_size", "accumulate", "initial_learning_rate", "num_epochs_per_decay", "learning_rate_decay_factor"),
            *("save_every", "keep_checkpoints", "log_every", "hang_timeout", "input_queue_memory_factor"),
        )
        for name in positive:
            _require(getattr(self, name) > 0, f"{name} is above 0", getattr(self, name))
        for name in ("clip_norm", "save_minutes", "patience"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} is above 0", value)
        for name in ("weight_decay", "warmup_epochs", "validate_epochs"):
            _require(0 <= getattr(self, name) < math.inf, f"{name} is at least 0 and finite", getattr(self, name))
        _require(self.validate_every is None or self.validate_every > 0, "validate_every is above 0", self.validate_every)
        _require(self.time_limit is None or seconds_of(self.time_limit) > 0, "time_limit is a time like 3h55m", self.time_limit)
        _require(
            self.profile is None or re.fullmatch(r"\d+,\d+", self.profile) is not None,
            "profile is a first and a last step like 10,20",
            self.profile,
        )
        _require(self.seed >= 0, "seed is at least 0", self.seed)
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

    def steps(self, examples: int, global_batch: int) -> int:
        """Steps of the whole run over `examples` training examples: finite whatever was asked."""
        if self.max_steps is not None:
            return self.max_steps
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        return max(1, round(epochs * examples / global_batch))


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
    on_corrupt: OnCorrupt = "error"
    """error: stop at a record whose checksum does not match. skip: leave it out of the count."""
    ema: bool = True
    """Evaluate the averaged weights; --no_ema: those of the last step."""

    def __post_init__(self) -> None:
        _require(self.batch_size > 0, "batch_size is above 0", self.batch_size)
        _require(self.num_examples is None or self.num_examples > 0, "num_examples is above 0", self.num_examples)


@dataclass(frozen=True)
class DoctorConfig:
    """Say what is installed, whether it works together, and what to do where it does not.
    Under a launcher (mpirun -n 2 shardtune doctor), also whether the ranks reach each other, and how fast."""

    directory: Path = Path()
    """Directory whose disk is tried: where the data set lies or will lie."""
    json: bool = False
    """Print one JSON object, for programs, in place of the table."""


def seconds_of(duration: str) -> float:
    """3h55m, 90m or 20s in seconds; 0 for what is no such time."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", duration)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return 3600.0 * hours + 60.0 * minutes + seconds


def as_json(config: object) -> dict[str, Any]:
    """The fields of a config dataclass as JSON values; paths as text."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(config).items()  # type: ignore[call-overload]
    }
