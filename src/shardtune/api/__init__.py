"""What programs import as `shardtune.…`."""

from importlib.metadata import version

from shardtune.api.commands import build, evaluate, export, report, train
from shardtune.api.data import load_arrays, load_dataset
from shardtune.api.predictor import ImageSource, Prediction, Predictor
from shardtune.builder.config import BuildConfig
from shardtune.dataset.manifest import Manifest
from shardtune.errors import (
    CheckpointError,
    CollectiveError,
    DataError,
    DownloadError,
    ExportError,
    ShardtuneError,
    StoppedError,
    TrainingError,
    UsageError,
    WorldError,
)
from shardtune.evaluate.config import EvalConfig
from shardtune.export.config import ExportConfig
from shardtune.export.facts import ExportResult
from shardtune.report.config import ReportConfig
from shardtune.train.config import TrainConfig
from shardtune.train.progress import StepMetrics, TrainResult, Validation

__version__ = version("shardtune")
__all__ = [
    "BuildConfig",
    "CheckpointError",
    "CollectiveError",
    "DataError",
    "DownloadError",
    "EvalConfig",
    "ExportConfig",
    "ExportError",
    "ExportResult",
    "ImageSource",
    "Manifest",
    "Prediction",
    "Predictor",
    "ReportConfig",
    "ShardtuneError",
    "StepMetrics",
    "StoppedError",
    "TrainConfig",
    "TrainResult",
    "TrainingError",
    "UsageError",
    "Validation",
    "WorldError",
    "__version__",
    "build",
    "evaluate",
    "export",
    "load_arrays",
    "load_dataset",
    "report",
    "train",
]
