"""The flags of `shardtune export`."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from shardtune.config import check_checkpoint_choice, check_flag, check_flags, check_types

Format = Literal["savedmodel", "keras", "onnx", "tflite"]


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained model for TensorFlow, Keras, ONNX or LiteRT, check that it computes the same, and describe it."""

    checkpoint_dir: Path
    """The train_dir of a run, or its checkpoints folder."""
    output_directory: Path
    """Directory for the models, labels.txt, model.json and README.md, the model card: new or empty, unless
    overwrite is given."""
    format: tuple[Format, ...] = ("savedmodel",)
    """One or several. savedmodel: takes JPEG or PNG files, images or tf.train.Examples; for TensorFlow and TensorFlow Serving.
    keras: a .keras file. onnx: needs pip install 'shardtune[onnx]'. tflite: LiteRT in float32, float16 and int8."""
    overwrite: bool = False
    """Replace the export that is in output_directory, and evaluations in it, when the new one is written and checked."""
    checkpoint: str | None = None
    """best by validation, last, or the step of one (default: best where the run was validated, else last)."""
    background: bool = False
    """Give out the background class 0 too, as the first class. Without it, probabilities are those of the other classes, which
    sum to 1."""
    ema: bool = True
    """Export the averaged weights, as eval evaluates them; --no_ema: the weights of the last step."""
    data_dir: Path | None = None
    """Data directory of the run, whose images check the export (default: the one that it was trained on)."""
    eval_dir: Path | None = None
    """The --eval_dir of the evaluation that the model card shows, of the test split if there is one, else of validation
    (default: the train_dir, or eval in it)."""
    hang_timeout: float = 1800.0
    """Seconds without progress after which the command ends; converting to one format can take minutes."""

    def __post_init__(self) -> None:
        check_types(self)
        check_checkpoint_choice(self.checkpoint)
        check_flag(self.hang_timeout > 0, "hang_timeout must be above 0", self.hang_timeout)
        check_flags(len(self.format) > 0, "--format was given no format.", "Give one of savedmodel, keras, onnx and tflite.")
        needed = ("onnx", "onnxruntime", "tf2onnx") if "onnx" in self.format else ()
        missing = [package for package in needed if find_spec(package) is None]
        check_flags(
            not missing, f"--format onnx needs {' and '.join(missing)}.", "Run pip install 'shardtune[onnx]', or leave it out."
        )
