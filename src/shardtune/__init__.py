"""Images to sharded TFRecords with MPI, Inception v3 fine-tuned with Horovod.

Everything in `__all__` is for programs, and loaded when it is first used. The rest may change with any version.
"""

# ruff: noqa: F403, F405

from importlib import import_module

TYPE_CHECKING = False  # what type checkers take for true; that of typing would take longer to import than all else here
if TYPE_CHECKING:
    from shardtune.api import *
    from shardtune.api import __version__ as __version__

__all__ = [
    "BuildConfig",
    "CheckpointError",
    "CollectiveError",
    "Comparison",
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
    "Shard",
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

# Functions and packages share these names: what imports a package first would put it where the function is looked for.
for _package in ("evaluate", "export", "report", "train"):
    import_module(f"shardtune.{_package}")
    globals().pop(_package, None)  # it is not there where only this module is loaded again

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'shardtune' has no attribute {name!r}")
        globals()[name] = value = getattr(import_module("shardtune.api"), name)
        return value

    def __dir__() -> list[str]:
        return __all__
