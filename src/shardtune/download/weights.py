"""Where the weights of Inception v3 are published that training can start from."""

from dataclasses import dataclass
from pathlib import Path

from shardtune.config import WeightSource
from shardtune.download.source import RemoteFile, alone_in, fetch_file, fetch_unpacked
from shardtune.runtime.cache import cache_directory
from shardtune.runtime.world import World

IMAGENET = Path("imagenet")  # in place of a path: Keras's weights from the cache
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
KERAS_NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
KERAS_NOTOP_NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclass(frozen=True)
class _Weights:
    """A published file, and the path of the checkpoint that it is, or that it holds."""

    file: RemoteFile
    checkpoint: str

    @property
    def is_archive(self) -> bool:
        return self.checkpoint != self.file.name


def _tensorflow(path: str, checkpoint: str) -> _Weights:
    return _Weights(RemoteFile(path.rpartition("/")[2], f"http://download.tensorflow.org/models/{path}"), checkpoint)


def _keras(name: str, md5: str) -> _Weights:
    return _Weights(RemoteFile(name, KERAS_URL + name, f"md5:{md5}"), name)


WEIGHTS: dict[WeightSource, _Weights] = {
    "2016": _tensorflow("image/imagenet/inception-v3-2016-03-01.tar.gz", "inception-v3/model.ckpt-157585"),
    "slim": _tensorflow("inception_v3_2016_08_28.tar.gz", "inception_v3.ckpt"),
    "keras": _keras(KERAS_NAME, "9a0d58056eeedaa3f26cb7ebd46da564"),
    "keras_notop": _keras(KERAS_NOTOP_NAME, "bcbd6486424b2319ff4ef7d526e38f63"),
}


def fetch_weights(source: WeightSource, directory: Path, world: World, *, url: str = "", sha256: str = "") -> Path:
    """Have these weights in `directory`; returns what --pretrained_model_checkpoint_path takes. For rank 0.

    Args:
        url: in place of the published one.
        sha256: in place of the published digest.

    Raises:
        DownloadError, OSError: see `fetch_file` and `fetch_unpacked`.
    """
    weights = WEIGHTS[source]
    file = weights.file.replaced_by(url, sha256)
    with alone_in(directory, world):
        if weights.is_archive:
            fetch_unpacked(file, directory / Path(weights.checkpoint).parts[0], directory, world)
        else:
            fetch_file(file, directory, world)
    return directory / weights.checkpoint


def find_pretrained(path: Path, world: World) -> Path:
    """`path`; for the word imagenet, if nothing of that name exists, Keras's file in the cache, downloaded at first use. For
    rank 0.

    Raises:
        DownloadError, OSError: see `fetch_file`.
    """
    if path != IMAGENET or path.exists():
        return path
    return fetch_weights("keras", cache_directory() / "weights", world)
