"""`shardtune fetch`: download on rank 0, and build on all ranks."""

from contextlib import ExitStack

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.download.source import RemoteFile, alone_in, fetch_unpacked
from shardtune.download.weights import fetch_weights
from shardtune.fetch.config import FetchConfig
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

FLOWERS = RemoteFile(
    "flower_photos.tgz",
    "http://download.tensorflow.org/example_images/flower_photos.tgz",
    "sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
)
SHARDS = 2  # of each split, as in download_and_preprocess_flowers of research/inception


def fetch(config: FetchConfig, world: World) -> None:
    """Fetch what `config` names.

    Raises:
        DownloadError: it cannot be downloaded or unpacked, or is not what was published.
        DataError, WorldError: see `build`.
    """
    if config.what == "flowers":
        _fetch_flowers(config, world)
        return
    checkpoint = world.broadcast_from_root(
        lambda: fetch_weights(config.source or "2016", config.directory, world, url=config.url, sha256=config.sha256)
    )
    print_on_root(world, str(checkpoint))


def _fetch_flowers(config: FetchConfig, world: World) -> None:
    photographs = config.directory / "raw-data" / "flower_photos"
    file = FLOWERS.replaced_by(config.url, config.sha256)
    with ExitStack() as stack:  # to the end of the build, which would refuse a second one
        world.run_on_root(lambda: stack.enter_context(alone_in(config.directory, world)))
        world.run_on_root(lambda: fetch_unpacked(file, photographs, config.directory, world))
        build(
            BuildConfig(
                photographs,
                output_directory=config.directory,
                validation_examples=config.validation_examples,
                train_shards=SHARDS,
                validation_shards=SHARDS,
            ),
            world,
        )
