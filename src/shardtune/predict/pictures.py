"""From a file or an example to the input of the network, just as `build` and `eval` make it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.example import decode_example, source_path
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.images.pixels import ImageOptions
from shardtune.images.source import RejectedError, read_image_bytes
from shardtune.images.stored import to_stored_image
from shardtune.input.augment import central_crop
from shardtune.input.reader import RecordReader
from shardtune.predict.listing import Item
from shardtune.runtime.frameworks import tf

MAX_OPEN_DATA_SETS = 8


@dataclass(frozen=True)
class Picture:
    """What became of an item.

    Attributes:
        file: its path; of an example, that of the file it was built from.
        pixels: float32 [side, side, 3] in −1 to 1; None if it cannot be read.
        error: why it cannot be read: a code of images/stored.py and details, or "corrupt" of an example.
    """

    file: str
    pixels: npt.NDArray[np.float32] | None = None
    error: str = ""


class PictureReader:
    """Makes pictures, from any thread.

    Args:
        side: of the pictures, in pixels.
        options: with which the data set of the run was built.
        subset: the split of data directories.
    """

    def __init__(self, side: int, options: ImageOptions, subset: Split) -> None:
        self._side, self._options, self._subset = side, options, subset
        self._open = lru_cache(MAX_OPEN_DATA_SETS)(self._open_data_set)

    def read(self, item: Item) -> Picture:
        """The picture of an item. What is wrong with the item is in the picture."""
        file, jpeg = item.path, b""
        if item.error:
            return Picture(file, error=item.error)
        try:
            if item.example is None:
                content = read_image_bytes(Path(item.path)) if item.content is None else item.content
                jpeg = to_stored_image(content, self._options).jpeg
            else:
                features = decode_example(self._open(item.path).read(np.array([item.example]))[0])
                file, jpeg = source_path(features), features["image/encoded"][0]
            # As evaluation does: on the cores.
            with tf.device("/CPU:0"):
                return Picture(file, central_crop(jpeg, self._side).numpy())
        except RejectedError as error:
            return Picture(file, error=str(error))
        except DataError as error:
            return Picture(file, error=f"corrupt: {error.message}")
        except tf.errors.OpError as error:
            reason = str(error.message).partition("\n")[0]
            return Picture(file, error=f"damaged: TensorFlow cannot decode it ({reason})")
        except OSError as error:
            return Picture(file, error=f"unreadable: {error.strerror or error}")
        except Exception as error:  # a bug here or in a decoder: name the image that shows it
            raise RuntimeError(f"{item.path}: {error!r}") from error

    def _open_data_set(self, path: str) -> RecordReader:
        manifest = Manifest.load(Path(path))
        return RecordReader(Path(path), manifest, self._subset, load_record_index(Path(path), manifest)[self._subset])
