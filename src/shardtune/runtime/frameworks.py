"""TensorFlow and Keras, without matplotlib and scikit-learn.

Where these are installed, Keras imports them for plots and wrappers that nothing here uses: a third of the time that a process
takes to start. TensorFlow and Horovod import Keras, so all of shardtune takes them from here.
"""

import sys

_absent = {name for name in ("matplotlib", "sklearn") if name not in sys.modules}
for name in _absent:
    sys.modules[name] = None  # type: ignore[assignment]  # as where it is not installed, which Keras can do with
try:
    import keras
    import tensorflow as tf
finally:
    for name in _absent:
        del sys.modules[name]

__all__ = ["keras", "tf"]
