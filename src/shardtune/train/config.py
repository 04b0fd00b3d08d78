"""The flags of `shardtune train`."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardtune.config import Augmentation, OnCorrupt, check_flag, check_flags, check_types

DEFAULT_EPOCHS = 10
Optimizer = Literal["sgd", "rmsprop", "adam", "adamw"]
LrScaling = Literal["linear", "sqrt", "none"]
LrDecay = Literal["constant", "exponential", "cosine", "step"]
GradientCompression = Literal["none", "fp16"]
Jit = Literal["none", "update", "all"]
Precision = Literal["float32", "tf32", "mixed_bfloat16", "mixed_float16"]


@dataclass(frozen=True)
class TrainConfig:
    """Fine-tune Inception v3 on a data set that `shardtune build` made. Runs on any number of Horovod workers."""

    data_dir: Path
    """Data directory: classes and counts are read from its dataset.json."""
    train_dir: Path
    """Run directory: checkpoints, metrics.jsonl, config.json. A run that was cut short resumes from its last checkpoint."""
    pretrained_model_checkpoint_path: Path | None = None
    """Weights to start from: the release inception-v3-2016-03-01 (its folder or model.ckpt-157585), TF-Slim's
    inception_v3.ckpt, a Keras .h5, .weights.h5 or .keras file of InceptionV3, or the train_dir of another run. The word
    imagenet: Keras's file, downloaded at first use into ~/.cache/shardtune, unless a file or folder of that name exists."""
    pretrained_ema: bool = False
    """Start from the averaged weights (ExponentialMovingAverage), which the release and runs of shardtune have too."""
    fine_tune: bool = False
    """Start the final layers (logits and auxiliary logits) from random weights: for other classes than the checkpoint's."""
    freeze_until: str | None = None
    """Do not train this block of Inception v3 (mixed0 … mixed10) and all below it, which is faster. Their batch
    normalisation uses its moving statistics."""
    freeze_trunk: bool = False
    """Train only the final layers and the auxiliary head: the same as --freeze_until mixed10."""
    image_size: int = 299
    """Side in pixels of the square that the network sees, 75 or more. Below 107 there is no auxiliary head."""
    batch_size: int = 32
    """Examples that a worker has in memory at once. The global batch is this times the number of workers times
    gradient_accumulation_steps. It is fixed at the first start: another number of workers shares the same global batch."""
    gradient_accumulation_steps: int = 1
    """Batches whose gradients each worker adds up for one step."""
    epochs: float | None = None
    """Passes over the training split (default: 10 unless max_steps is given)."""
    max_steps: int | None = None
    """Steps to train, each of one global batch; never divided by the number of workers."""
    optimizer: Optimizer = "sgd"
    """sgd: Nesterov momentum 0.9. rmsprop: that of research/inception (decay 0.9, momentum 0.9, epsilon 1.0).
    adam, adamw: with their usual constants."""
    weight_decay: float = 0.00004
    """L2 loss: this times half the sum of squares of all convolution and dense kernels. adamw decays weights itself."""
    clip_norm: float | None = None
    """Scale the gradients down where their global norm is above this."""
    initial_learning_rate: float = 0.001
    """Learning rate of one worker, whatever its batch_size. It rises to this times the scale, then decays. On resume it may
    change with allow_config_change, but the scale may not."""
    lr_scaling: LrScaling = "linear"
    """The scale: workers × gradient_accumulation_steps, its square root, or 1. It is fixed at the first start."""
    warmup_epochs: float = 5.0
    """Epochs until the full learning rate; at most a tenth of the run."""
    learning_rate_decay: LrDecay = "cosine"
    """constant. exponential: times learning_rate_decay_factor every num_epochs_per_decay, in stairs, as research/inception.
    cosine: to 0 at the end. step: times 0.1 at 3/9, 6/9 and 8/9 of the run."""
    num_epochs_per_decay: float = 30.0
    """Epochs between two factors of the exponential decay."""
    learning_rate_decay_factor: float = 0.16
    """Factor of the exponential decay."""
    show_schedule: bool = False
    """Show the learning rate as a table and a small plot, and do not train."""
    precision: Precision = "float32"
    """Precision of the activations; weights and logits are always float32. float32: on GPUs too. tf32: GPUs from Ampere on
    round factors to 10 bits of mantissa, which is faster; elsewhere the same as float32. mixed_float16: the loss is scaled by a
    factor that adapts."""
    jit: Jit = "none"
    """What XLA compiles. update: what changes the weights. all: the network and its gradients, too; it does not go with synced
    batch_norm, nor with deterministic."""
    batch_norm: Literal["per_worker", "synced", "frozen"] = "per_worker"
    """per_worker: each worker normalises by its own examples. synced: by those of all workers, as one worker with the whole
    batch would. frozen: by the moving statistics of the checkpoint, which do not change. Where a worker needs several
    micro-batches for a step, each is normalised by itself: only frozen does not depend on their number."""
    batch_norm_decay: float = 0.9
    """Decay of the moving mean and variance of batch normalisation, once a step. The 0.9997 of research/inception is for 10,000
    steps and more."""
    moving_average_decay: float = 0.9999
    """Decay of the averaged weights, which evaluation uses; at step n it is at most (1 + n) / (10 + n)."""
    augment: Augmentation = "light"
    """inception: the distortions of research/inception, for training from random weights: crops of 5 to 100 % around
    bounding boxes, flip, four ways of resizing, strong colour. light: crops of 35 to 100 %, flip, mild colour.
    none: the central crop that evaluation sees."""
    on_corrupt: OnCorrupt = "error"
    """error: stop at a record whose checksum does not match. skip: take the next valid record instead, and count it."""
    input_queue_memory_factor: int = 1
    """Records that each worker may queue between disk and decoder, in units of 1,024: about 60 MB each for photographs of
    60 KB, and reading takes up to 30 MB more. Up to 4 batches of decoded images (1.1 MB an image at 299 pixels) come on top.
    The order of examples does not depend on it."""
    seed: int = 0
    """Determines initial weights, the order of examples, and augmentation; at least 0."""
    deterministic: bool = False
    """Every run with the same number of workers, and of cores for each, ends with the same bits. TensorFlow then uses
    deterministic operations and adds gradients in a fixed order; GPUs may be slower."""
    compression: GradientCompression = "none"
    """fp16: gradients travel between workers in half precision."""
    save_every: int = 500
    """Steps between checkpoints; there is always one of the last step."""
    save_every_minutes: float | None = None
    """Minutes between checkpoints, where save_every steps take longer."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay; the best by validation stays too."""
    validate_every: int | None = None
    """Steps between validations (default: see validate_epochs)."""
    validate_epochs: float = 1.0
    """Epochs between validations; 0: none."""
    patience: int | None = None
    """End the run after this many validations without a better one."""
    time_limit: str | None = None
    """Stop with a checkpoint after this time: 3h55m, 90m, 20s."""
    hang_timeout: float = 600.0
    """Seconds without progress after which the job ends and names the late rank."""
    allow_config_change: bool = False
    """Resume a run although flags have changed. These never change: optimizer, what is frozen, lr_scaling and its scale, the
    number of classes, whether there is an auxiliary head; and no run changes to mixed_float16."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    histograms: bool = False
    """Weights and activations as TensorBoard histograms at every validation."""
    profile: str | None = None
    """First and last step of a TensorBoard trace: 10,20."""
    timeline: bool = False
    """Write Horovod's timeline of this run to timeline.json in train_dir."""

    def __post_init__(self) -> None:
        check_types(self)
        check_flag(self.image_size >= 75, "image_size must be at least 75 pixels", self.image_size)
        positive = (
            *("batch_size", "gradient_accumulation_steps", "initial_learning_rate", "num_epochs_per_decay"),
            *("learning_rate_decay_factor", "save_every", "keep_checkpoints", "log_every", "hang_timeout"),
            "input_queue_memory_factor",
        )
        for name in positive:
            check_flag(getattr(self, name) > 0, f"{name} must be above 0", getattr(self, name))
        for name in ("clip_norm", "save_every_minutes", "patience", "validate_every"):
            value = getattr(self, name)
            check_flag(value is None or value > 0, f"{name} must be above 0", value)
        for name in ("weight_decay", "warmup_epochs", "validate_epochs"):
            check_flag(0 <= getattr(self, name) < math.inf, f"{name} must be at least 0 and finite", getattr(self, name))
        seconds = None if self.time_limit is None else parse_duration(self.time_limit)
        check_flag(seconds is None or seconds > 0, "time_limit must be a time like 3h55m", self.time_limit)
        steps = re.fullmatch(r"(\d+),(\d+)", self.profile or "0,0")
        is_range = steps is not None and int(steps[1]) <= int(steps[2])
        check_flag(is_range, "profile must be a first and a last step like 10,20", self.profile)
        check_flag(self.seed >= 0, "seed must be at least 0", self.seed)
        for name in ("batch_norm_decay", "moving_average_decay"):
            check_flag(0 <= getattr(self, name) < 1, f"{name} must be at least 0 and below 1", getattr(self, name))
        check_flags(
            self.epochs is None or self.max_steps is None,
            f"--epochs {self.epochs} and --max_steps {self.max_steps} both say how long the run is.",
            "Leave out one of them.",
        )
        for name in ("epochs", "max_steps"):
            value = getattr(self, name)
            check_flag(value is None or 0 < value < math.inf, f"{name} must be above 0 and finite", value)
        need_weights = {
            "fine_tune": self.fine_tune,
            "pretrained_ema": self.pretrained_ema,
            "batch_norm frozen": self.batch_norm == "frozen",
        }
        for name, is_given in need_weights.items():
            check_flags(
                not is_given or self.pretrained_model_checkpoint_path is not None,
                f"--{name} needs weights to start from.",
                "Give their --pretrained_model_checkpoint_path.",
            )
        check_flags(
            not (self.jit == "all" and self.batch_norm == "synced"),
            "--jit all cannot compile --batch_norm synced, whose workers meet inside the network.",
            "Give --jit update or another --batch_norm.",
        )
        check_flags(
            not (self.jit == "all" and self.deterministic),
            "--jit all cannot be --deterministic: XLA has no deterministic gradient of max pooling.",
            "Give --jit update, or leave out --deterministic.",
        )
        check_flags(
            not (self.freeze_trunk and self.freeze_until),
            f"--freeze_trunk and --freeze_until {self.freeze_until} both say what is frozen.",
            "Leave out one of them.",
        )

    def total_steps(self, examples: int, global_batch: int) -> int:
        """Steps of the whole run over `examples` training examples, at least 1."""
        if self.max_steps is not None:
            return self.max_steps
        epochs = DEFAULT_EPOCHS if self.epochs is None else self.epochs
        return max(1, round(epochs * examples / global_batch))


def parse_duration(duration: str) -> float:
    """The seconds of a time like 3h55m, 90m or 20s; 0 for any other text."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", duration)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return 3600.0 * hours + 60.0 * minutes + seconds
