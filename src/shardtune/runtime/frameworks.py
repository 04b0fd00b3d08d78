"""TensorFlow and Keras, without matplotlib and scikit-learn.

Keras imports these two, where they are installed, for plots and wrappers that nothing here uses. That is a third of the time
that a process takes to start. TensorFlow and Horovod import Keras, so every module imports them from here.
"""

import sys

_absent = {name for name in ("matplotlib", "sklearn") if name not in sys.modules}
for name in _absent:
    sys.modules[name] = None  # type: ignore[assignment]  # the import then fails, as where it is not installed
try:
    import keras
    import tensorflow as tf
finally:
    for name in _absent:
        del sys.modules[name]

__all__ = ["keras", "tf"]
