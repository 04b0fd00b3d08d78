"""`shardtune predict`: the network of a run on anyone's images, with the probabilities that `eval` computes for them."""

import io
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from shardtune.errors import DataError
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.network import build_inception, open_network
from shardtune.images.stored import pillow_warnings_ignored
from shardtune.predict.config import PredictConfig
from shardtune.predict.formats import Formatter, Prediction, choose_format
from shardtune.predict.listing import STDIN, Item, Listing, list_items
from shardtune.predict.pictures import PictureReader
from shardtune.predict.predictor import Predictor
from shardtune.predict.trained import find_trained
from shardtune.runtime import devices
from shardtune.runtime.files import atomic_write
from shardtune.runtime.progress import SECONDS_BETWEEN_LINES, print_on_root
from shardtune.runtime.streams import has_reader
from shardtune.runtime.world import World


def predict(config: PredictConfig, world: World, build_model: Callable[[int, int], Any] = build_inception) -> None:
    """Predict all images and write what the network says of each.

    Args:
        build_model: builds the network for a number of classes and an image size.

    Raises:
        CheckpointError: there is no run, it has no such checkpoint, or its network does not compute finite numbers.
        DataError: a data directory is damaged; or, when all is written, images could not be read.
    """
    num_threads = devices.configure_devices(world)
    trained, batch_size = world.broadcast_from_root(lambda: (find_trained(config, world), choose_batch_size(config)))
    with ExitStack() as stack:
        output: IO[bytes] = sys.stdout.buffer
        if config.output and world.is_root:
            output = stack.enter_context(atomic_write(config.output.resolve()))
        network = open_network(trained.checkpoint, batch_size, num_threads, build_model)
        network.restore(trained.checkpoint)
        world.guard.set_timeout(config.hang_timeout)
        stack.enter_context(pillow_warnings_ignored())
        threads = ThreadPoolExecutor(num_threads)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        reader = PictureReader(trained.checkpoint.image_size, trained.image_options, config.subset)
        top_k = min(config.top_k, trained.num_outputs)
        predictor = Predictor(world, reader, network, threads, batch_size, top_k)
        chosen = choose_format(config.format, config.output is not None)
        writing = _Writing(config, world, Formatter(chosen, trained.class_names, top_k), output)
        for predictions in predictor.run(writing.take):
            writing.write(predictions)
    world.run_on_root(writing.finish)


def choose_batch_size(config: PredictConfig) -> int:
    """The images that the network computes at once: by default no more than there are, if only files are named, because batches
    are filled up. It does not depend on the number of ranks, as the last bits depend on it."""
    if config.batch_size is not None:
        return config.batch_size
    are_files = all(path != STDIN and Path(path).is_file() for path in config.paths)
    return min(len(config.paths), EvalConfig.batch_size) if are_files else EvalConfig.batch_size


class _Writing:
    """What rank 0 does: it lists the images, and writes and counts the predictions. Elsewhere it does nothing."""

    def __init__(self, config: PredictConfig, world: World, formatter: Formatter, output: IO[bytes]) -> None:
        self._world, self._output, self._formatter = world, output, formatter
        self._images = self._unreadable = 0
        self._started = self._last_line = time.monotonic()
        if world.is_root:
            stdin = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None: it was closed before this process started
            self._listing = Listing(list_items(config.paths, config.subset, stdin))
            output.write(self._formatter.header())
            output.flush()

    def take(self, count: int, wait: bool) -> tuple[list[Item], bool]:
        """See `Predictor.run`. There are no more images when nobody reads what is written of them."""
        items = self._listing.take(count, lambda: self._world.guard.heartbeat("waiting for paths"), wait=wait)
        return items, self._listing.has_ended or not has_reader(self._output)

    def write(self, predictions: Sequence[Prediction]) -> None:
        if not self._world.is_root:
            return
        if self._images and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._say_rate()
        self._output.write(b"".join(map(self._formatter.rows, predictions)))
        self._output.flush()
        self._images += len(predictions)
        self._unreadable += sum(not prediction.top for prediction in predictions)

    def finish(self) -> None:
        """Say how many images there were.

        Raises:
            DataError: some could not be read.
        """
        if not has_reader(self._output):
            return
        self._say_rate()
        if not self._images:
            raise DataError("There are no images in what was named.", "Name files or folders of images.")
        if self._unreadable:
            raise DataError(f"{self._unreadable} of {self._images} images could not be read.", "Their lines say why.")

    def _say_rate(self) -> None:
        seconds = time.monotonic() - self._started
        text = f"{self._images} images in {seconds:.1f} s: {self._images / seconds:.1f} images/s."
        print_on_root(self._world, text, sys.stderr)
