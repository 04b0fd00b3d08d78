"""TensorFlow and Keras, without matplotlib and scikit-learn.

Keras imports these two, where they are installed, for plots and wrappers that nothing here uses. That is a third of the time
that a process takes to start. TensorFlow and Horovod import Keras, so every module imports them from here.
"""

import os
import sys
from contextlib import nullcontext

from shardtune.errors import WorldError
from shardtune.runtime.streams import stderr_without

# From TensorFlow 2.19 on, messages of the import ignore TF_CPP_MIN_LOG_LEVEL: github.com/tensorflow/tensorflow/issues/100442.
_level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
_letters = "IWE"[: int(_level) if _level.isdigit() else 0]
_hidden = f"^(WARNING: All log messages before absl::InitializeLog|[{_letters}][0-9]{{4}} )"

_absent = {name for name in ("matplotlib", "sklearn") if name not in sys.modules}
for name in _absent:
    sys.modules[name] = None  # type: ignore[assignment]  # the import then fails, as where it is not installed
try:
    with stderr_without(_hidden) if _letters else nullcontext():
        import keras
        import tensorflow as tf
except ModuleNotFoundError as error:
    raise WorldError(
        f"This command needs TensorFlow and Keras ({error}).",
        "Run launch/setup.sh of shardtune's repository, or pip install 'shardtune[train]' (for GPUs 'shardtune[train-gpu]').",
    ) from error
finally:
    for name in _absent:
        del sys.modules[name]

__all__ = ["keras", "tf"]
