"""What programs import as `shardtune.…`. Names with `as` are public to type checkers; `shardtune.__all__` lists them."""

from importlib import metadata

from shardtune.api.commands import build as build
from shardtune.api.commands import evaluate as evaluate
from shardtune.api.commands import export as export
from shardtune.api.commands import report as report
from shardtune.api.commands import train as train
from shardtune.api.data import load_arrays as load_arrays
from shardtune.api.data import load_dataset as load_dataset
from shardtune.api.predictor import ImageSource as ImageSource
from shardtune.api.predictor import Prediction as Prediction
from shardtune.api.predictor import Predictor as Predictor
from shardtune.builder.config import BuildConfig as BuildConfig
from shardtune.dataset.manifest import Manifest as Manifest
from shardtune.dataset.manifest import Shard as Shard
from shardtune.errors import CheckpointError as CheckpointError
from shardtune.errors import CollectiveError as CollectiveError
from shardtune.errors import DataError as DataError
from shardtune.errors import DownloadError as DownloadError
from shardtune.errors import ExportError as ExportError
from shardtune.errors import ShardtuneError as ShardtuneError
from shardtune.errors import StoppedError as StoppedError
from shardtune.errors import TrainingError as TrainingError
from shardtune.errors import UsageError as UsageError
from shardtune.errors import WorldError as WorldError
from shardtune.evaluate.config import EvalConfig as EvalConfig
from shardtune.export.config import ExportConfig as ExportConfig
from shardtune.export.facts import Comparison as Comparison
from shardtune.export.facts import ExportResult as ExportResult
from shardtune.report.config import ReportConfig as ReportConfig
from shardtune.train.config import TrainConfig as TrainConfig
from shardtune.train.progress import StepMetrics as StepMetrics
from shardtune.train.progress import TrainResult as TrainResult
from shardtune.train.progress import Validation as Validation

__version__ = metadata.version("shardtune")
