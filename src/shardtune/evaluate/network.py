"""What computes the logits of images: the network of a checkpoint, or a model that was exported."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shardtune.errors import CheckpointError
from shardtune.evaluate.checkpoint_source import Checkpoint
from shardtune.evaluate.exported import Predict
from shardtune.model import inception, pretrained
from shardtune.runtime.frameworks import tf

Logits = npt.NDArray[np.float32]
# An export may round a probability to 0, whose logarithm no loss can have; Keras's cross-entropy takes this instead, too.
LEAST_PROBABILITY = 1e-7
NOT_GIVEN_OUT = -1000.0  # the logit of the background class where an export leaves it out: a probability of 0


class Network(Protocol):
    """Computes logits with the weights of one checkpoint after another."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the weights of a checkpoint.

        Raises:
            CheckpointError: it does not fit, or cannot be read.
        """

    def logits(self, images: npt.NDArray[np.float32]) -> Logits:
        """Logits [n, classes] of images float32 [n, side, side, 3] in −1 to 1, as `central_crop` makes them; n may be 0."""


def open_network(checkpoint: Checkpoint, batch_size: int, num_threads: int, build_model: Any) -> Network:
    """The network of `checkpoint`, still without its weights.

    Args:
        build_model: builds that of a run, for a number of classes and an image size.
    """
    if checkpoint.exported:
        return ExportedNetwork(checkpoint.num_classes, batch_size, num_threads)
    return InceptionNetwork(build_model(checkpoint.num_classes, checkpoint.image_size), batch_size)


def build_inception(num_classes: int, image_size: int) -> Any:
    """The network as evaluation needs it: without the auxiliary head, which only fits the image size of its training."""
    return inception.build(num_classes, image_size, auxiliary_head=False)


class InceptionNetwork:
    """Runs `model`, which is compiled once.

    Args:
        model: from `inception.build`.
        batch_size: examples of the largest batch. Smaller ones are padded to it, because the shape of a batch decides how the
            machine computes it, and with that the last bits of all its logits.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        shape = model.input.shape[1:]
        self._model, self._num_classes = model, model.output["logits"].shape[-1]

        def logits(images: Any) -> Any:
            padding = [[0, batch_size - tf.shape(images)[0]], *[[0, 0] for _ in shape]]
            return model(tf.ensure_shape(tf.pad(images, padding), [batch_size, *shape]), training=False)["logits"]

        self._logits = tf.function(logits, autograph=False, input_signature=[tf.TensorSpec([None, *shape], tf.float32)])

    def restore(self, checkpoint: Checkpoint) -> None:
        pretrained.restore(self._model, checkpoint.path, averaged=checkpoint.averaged)

    def logits(self, images: Any) -> Logits:
        if not len(images):
            return np.zeros((0, self._num_classes), np.float32)
        return self._logits(images).numpy()[: len(images)]  # type: ignore[no-any-return]


class ExportedNetwork:
    """Runs an exported model. Its logits are the logarithms of its probabilities.

    Args:
        num_classes: outputs, the background class included.
        batch_size: as for `InceptionNetwork`.
    """

    def __init__(self, num_classes: int, batch_size: int, num_threads: int) -> None:
        self._num_classes, self._batch_size, self._num_threads = num_classes, batch_size, num_threads
        self._predict: Predict
        self._first_class = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.exported
        self._predict, self._first_class = checkpoint.exported.load(self._num_threads), checkpoint.exported.first_class

    def logits(self, images: Any) -> Logits:
        logits = np.full((len(images), self._num_classes), NOT_GIVEN_OUT, np.float32)
        if not len(images):
            return logits
        crops = (np.asarray(images) + 1.0) * 127.5
        probabilities = self._predict(np.pad(crops, [(0, self._batch_size - len(crops)), (0, 0), (0, 0), (0, 0)]))[: len(crops)]
        if probabilities.shape != (len(crops), self._num_classes - self._first_class):
            raise CheckpointError(
                f"The exported model gives out {probabilities.shape[-1]} classes, but its model.json says "
                f"{self._num_classes - self._first_class}.",
                "Export it again.",
            )
        logits[:, self._first_class :] = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
        return logits
