"""The flags of the scripts of TensorFlow's research/inception (2016), and what each command makes of them.

build   build_image_data, build_imagenet_data
train   flowers_train, imagenet_train, imagenet_distributed_train
eval    flowers_eval, imagenet_eval
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """A flag that the command has, and that means what it meant.

    Attributes:
        default: what it was in 2016 where it is another one now, and the new one stays; empty where it is the same.
        implies: a flag of ours that 2016 took for granted. It is added where the command line has none of that name.
    """

    default: str = ""
    implies: str = ""

    def __str__(self) -> str:
        implied = f"; implies {self.implies}" if self.implies else ""
        return "as in 2016" + (f"; its default was {self.default}" if self.default else "") + implied


@dataclass(frozen=True)
class Unused:
    """A flag without effect.

    Attributes:
        reason: the end of a sentence.
    """

    reason: str
    is_boolean: bool = False

    def __str__(self) -> str:
        return f"has no effect: {self.reason}"


@dataclass(frozen=True)
class Fixed:
    """A flag that may have only the value that says what is done anyway; with any other it is an error.

    Attributes:
        reason: the end of a sentence.
        advice: sentences; {value} stands for the other value.
    """

    value: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"can only be {self.value or 'empty'}: {self.reason}"


@dataclass(frozen=True)
class Rescaled:
    """A flag that sets another one, of another unit.

    Attributes:
        flag: the name of the other one, which gets the value divided by `divisor`.
    """

    flag: str
    divisor: float

    def __str__(self) -> str:
        return f"sets --{self.flag}: its value / {self.divisor:g}"


Treatment = Kept | Unused | Fixed | Rescaled

_READERS = Unused("each worker reads ahead on as many threads as it has cores")
_DATA_DIR = Kept("/tmp/mydata")
_LAUNCHER = Fixed(
    "1",
    "a worker has one GPU, and --batch_size counts for each",
    "Leave it out and put a launcher in front: horovodrun -np {value} shardtune train …, or launch/train.sh for every GPU.",
)
_NO_SERVERS = "the workers of Horovod need neither addresses nor parameter servers"
_HOSTS_ADVICE = "Leave it out and start all workers at once: HOSTS=a:4,b:4 launch/train.sh … for 4 GPUs on each of a and b."

FLAGS_2016: dict[str, dict[str, Treatment]] = {
    "build": {
        "train_directory": Kept("/tmp/"),
        "validation_directory": Kept("/tmp/"),
        "output_directory": Kept("/tmp/"),
        "train_shards": Kept("2, and 1024 for ImageNet"),
        "validation_shards": Kept("2, and 128 for ImageNet"),
        "num_threads": Unused("each rank is one thread, and mpirun -n 8 shardtune build runs 8 of them"),
        "labels_file": Kept("imagenet_lsvrc_2015_synsets.txt for ImageNet"),
        "imagenet_metadata_file": Kept("imagenet_metadata.txt for ImageNet"),
        "bounding_box_file": Kept("./imagenet_2012_bounding_boxes.csv for ImageNet"),
    },
    "train": {
        "train_dir": Kept("/tmp/imagenet_train"),
        "data_dir": _DATA_DIR,
        "max_steps": Kept("10000000, and 1000000 for several hosts"),
        "subset": Fixed("train", "training sees the training split", "Build a data set whose training split is what you want."),
        "fine_tune": Kept(),
        "pretrained_model_checkpoint_path": Kept(),
        "initial_learning_rate": Kept("0.1, and 0.045 for several hosts"),
        "num_epochs_per_decay": Kept("2.0 for several hosts", implies="--learning_rate_decay=exponential"),
        "learning_rate_decay_factor": Kept("0.94 for several hosts", implies="--learning_rate_decay=exponential"),
        "batch_size": Kept(),
        "image_size": Kept(),
        "input_queue_memory_factor": Kept("16"),
        "num_preprocess_threads": _READERS,
        "num_readers": _READERS,
        "log_device_placement": Unused("the first line of a run says on what its workers compute", is_boolean=True),
        "num_gpus": _LAUNCHER,
        "job_name": Fixed("", _NO_SERVERS, _HOSTS_ADVICE),
        "ps_hosts": Fixed("", _NO_SERVERS, _HOSTS_ADVICE),
        "worker_hosts": Fixed("", _NO_SERVERS, _HOSTS_ADVICE),
        "task_id": Fixed("0", "the launcher numbers the workers", _HOSTS_ADVICE),
        "num_replicas_to_aggregate": Fixed("-1", "each step takes the gradients of all workers", "Leave it out."),
        "save_interval_secs": Rescaled("save_every_minutes", 60),
        "save_summaries_secs": Unused("metrics.jsonl and TensorBoard get a line every --log_every steps"),
    },
    "eval": {
        "data_dir": _DATA_DIR,
        "checkpoint_dir": Kept("/tmp/imagenet_train"),
        "eval_dir": Kept("/tmp/imagenet_eval"),
        "eval_interval_secs": Kept(),
        "run_once": Kept("False"),
        "num_examples": Kept("50000"),
        "subset": Kept(),
        "batch_size": Kept("32"),
        "image_size": Kept("299"),
        "num_preprocess_threads": _READERS,
        "num_readers": _READERS,
        "input_queue_memory_factor": Unused("evaluation reads in order and mixes nothing, as in 2016"),
    },
}


def describe(command: str) -> str:
    """What --help says of the flags of 2016, one a line; empty for a command that has none."""
    lines = [f"  --{name:<34}{treatment}" for name, treatment in FLAGS_2016.get(command, {}).items()]
    title = "flags of 2016, of the scripts of research/inception:"
    return "\n".join([title, *lines, ""]) if lines else ""
