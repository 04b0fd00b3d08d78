"""The classes of images, from a model that stays loaded."""

import io
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from shardtune.api.job import job
from shardtune.errors import UsageError
from shardtune.images.pixels import PILLOW_ERRORS, orientation_tags
from shardtune.images.stored import pillow_warnings_ignored
from shardtune.predict.config import PredictConfig
from shardtune.predict.listing import Item
from shardtune.runtime.world import World

PREDICTING = threading.RLock()  # LiteRT's interpreter computes one batch at a time, and TF32 is a setting of the process
PNG_MODES = ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")
ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image; the most probable class first.

    Attributes:
        classes: names.
        probabilities: of these.
        labels: numbers of these in the data set: 1 for its first class; 0 is the background.
        error: why the image cannot be read, and nothing is said of it; else "".
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    labels: tuple[int, ...]
    error: str = ""


class Predictor:
    """Predicts images, with the probabilities of `shardtune predict` to the last bit.

    Behind a launcher, make it on all processes; each then predicts images of its own.

    Args:
        model: a run, an export, or one model in it, as `shardtune predict --model` takes it.
        data_dir: the data set of the run (default: where the run had it).
        checkpoint: "best", "last" or the number of a step (default: the best where the run was validated, else the last).
        ema: take averaged weights.
        top_k: how many classes to name.
        batch_size: images that the network computes at once. Last bits depend on it.

    Attributes:
        classes: names of all classes, by label: "background" first.

    Raises:
        CheckpointError: there is no model, or it cannot be read.
        DataError: `data_dir` is damaged.
        UsageError: an argument is not possible.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        data_dir: Path | str | None = None,
        checkpoint: str | None = None,
        ema: bool = True,
        top_k: int = 5,
        batch_size: int = 50,
    ) -> None:
        from shardtune.evaluate.network import build_inception, open_network
        from shardtune.predict.pictures import PictureReader
        from shardtune.predict.trained import find_trained
        from shardtune.runtime import devices

        config = PredictConfig(
            checkpoint_dir=Path(model),
            paths=("-",),  # they come later
            top_k=top_k,
            data_dir=None if data_dir is None else Path(data_dir),
            checkpoint=checkpoint,
            ema=ema,
            batch_size=batch_size,
        )
        with job("horovod", config) as world, devices.settings_kept():
            self._threads = devices.configure_devices(world)
            trained = world.broadcast_from_root(lambda: find_trained(config, world))
            self._network = open_network(trained.checkpoint, batch_size, self._threads, build_inception)
            self._network.restore(trained.checkpoint)
        self._reader = PictureReader(trained.checkpoint.image_size, trained.image_options, config.subset)
        self._batch_size, self._top_k = batch_size, min(top_k, trained.num_outputs)
        self.classes = tuple(trained.class_names)

    def predict(self, images: Iterable[ImageSource]) -> list[Prediction]:
        """Predict images, in their order.

        Args:
            images: paths of files, their contents as bytes, Pillow's images, or arrays, uint8 [height, width, 3] of RGB or
                [height, width] of gray. Images and arrays are treated as PNG files of them would be.

        Raises:
            CheckpointError: the network does not compute finite numbers.
            UsageError: something among them is no image, or `images` is one image.
        """
        from shardtune.predict import predictor
        from shardtune.runtime import devices
        from shardtune.runtime.frameworks import tf

        if isinstance(images, str | bytes | os.PathLike | Image.Image | np.ndarray) and np.ndim(images) < 4:
            raise UsageError("predict() takes several images.", "Put the image in a list.")
        items = map(_to_item, images)

        def take(count: int, wait: bool) -> tuple[list[Item], bool]:
            taken = [item for _, item in zip(range(count), items, strict=False)]
            return taken, len(taken) < count

        with PREDICTING, pillow_warnings_ignored(), ThreadPoolExecutor(self._threads) as threads, devices.settings_kept():
            tf.config.experimental.enable_tensor_float_32_execution(False)
            own = predictor.Predictor(World(prints=False), self._reader, self._network, threads, self._batch_size, self._top_k)
            found = [each for predictions in own.run(take) for each in predictions]
        return [
            Prediction(tuple(self.classes[label] for label in each.top), tuple(each.probabilities), tuple(each.top), each.error)
            for each in found
        ]


def _to_item(source: ImageSource) -> Item:
    if isinstance(source, bytes):
        return Item("", content=source)
    if isinstance(source, str | os.PathLike):
        return Item(os.fspath(source))
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] == 3)):
            raise UsageError(
                f"An image is uint8 [height, width, 3] or [height, width], not {source.dtype} {list(source.shape)}.",
                "Convert it, for example with (255 * array).astype(np.uint8).",
            )
        source = Image.fromarray(source)
    if not isinstance(source, Image.Image):
        raise UsageError(f"{type(source).__name__} is no image.", "Give a path, bytes, an image of Pillow, or an array.")
    file = io.BytesIO()
    try:
        source.load()  # which turns a TIFF upright, and reads EXIF at the end of a PNG
        # TIFF has modes that PNG lacks.
        source.save(file, "PNG" if source.mode in PNG_MODES else "TIFF", exif=orientation_tags(source))
    except PILLOW_ERRORS as error:
        return Item("", error=f"unreadable: {error}")
    return Item("", content=file.getvalue())
