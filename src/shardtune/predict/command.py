"""`shardtune predict`: the network of a run on anyone's images, with the probabilities that `eval` computes for them."""

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError, UsageError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_checkpoint, no_checkpoint_error
from shardtune.evaluate.network import build_inception, open_network
from shardtune.evaluate.predictions import BACKGROUND
from shardtune.images.pixels import ImageOptions
from shardtune.predict.config import PredictConfig
from shardtune.predict.formats import Formatter, Prediction, choose_format
from shardtune.predict.listing import Item, Listing, list_items
from shardtune.predict.pictures import PictureReader
from shardtune.predict.predictor import Predictor
from shardtune.runtime import devices
from shardtune.runtime.files import atomic_write, exists
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
    trained = world.broadcast_from_root(lambda: _find_trained(config, world))
    with ExitStack() as stack:
        output: IO[bytes] = sys.stdout.buffer
        if config.output and world.is_root:
            output = stack.enter_context(atomic_write(config.output.resolve()))
        network = open_network(trained.checkpoint, config.batch_size, num_threads, build_model)
        network.restore(trained.checkpoint)
        world.guard.set_timeout(config.hang_timeout)
        threads = ThreadPoolExecutor(num_threads)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        reader = PictureReader(trained.checkpoint.image_size, trained.image_options, config.subset)
        top_k = min(config.top_k, trained.num_outputs)
        predictor = Predictor(world, reader, network, threads, config.batch_size, top_k)
        chosen = choose_format(config.format, config.output is not None)
        writing = _Writing(config, world, Formatter(chosen, trained.class_names, top_k), output)
        for predictions in predictor.run(writing.take):
            writing.write(predictions)
    world.run_on_root(writing.finish)


@dataclass(frozen=True)
class _Trained:
    """A checkpoint, and how to use it.

    Attributes:
        class_names: by label, that of the background class included.
        num_outputs: classes that it gives out: an export may leave out the background class.
        image_options: with which the images of its training were made.
    """

    checkpoint: Checkpoint
    class_names: list[str]
    num_outputs: int
    image_options: ImageOptions


def _find_trained(config: PredictConfig, world: World) -> _Trained:
    """What `config` names.

    Raises:
        UsageError: --output is no place for a file, or --data_dir was given for an export.
        CheckpointError: there is no checkpoint.
        DataError: it does not name its classes, and there is no data set that does.
    """
    if config.output and exists(config.output) and not config.output.is_file():
        raise UsageError(f"--output {config.output} is no regular file.", "Leave it out: predictions then go to stdout.")
    checkpoint = find_checkpoint(config.checkpoint_dir, config.checkpoint, ema=config.ema)
    if checkpoint is None:
        raise no_checkpoint_error(config.checkpoint_dir)
    for note in checkpoint.notes:
        print_on_root(world, note, sys.stderr)
    if checkpoint.exported:
        if config.data_dir:
            raise UsageError("An export says itself what its classes and images are.", "Leave out --data_dir.")
        exported = checkpoint.exported
        background = [BACKGROUND][: exported.first_class]
        names, options = [*background, *exported.classes], _image_options(exported.description["conversion"])
        return _Trained(checkpoint, names, len(exported.classes), options)
    if checkpoint.run_config:
        return _of_run(checkpoint, checkpoint.run_config, config, world)
    if config.data_dir is None:
        raise DataError("Checkpoints of TensorFlow do not name their classes.", "Name their data set with --data_dir.")
    manifest, _ = open_data_set(config.data_dir, world)
    checkpoint.check_classes(config.data_dir, manifest)
    return _Trained(checkpoint, [BACKGROUND, *manifest.titles], checkpoint.num_classes, _image_options(manifest.provenance))


def _of_run(checkpoint: Checkpoint, run_config: Mapping[str, Any], config: PredictConfig, world: World) -> _Trained:
    """A checkpoint of a run, with the words for classes and the options of its data set, if that is there."""
    data_dir = config.data_dir or Path(str(run_config["config"].get("data_dir")))
    try:
        manifest = Manifest.load(data_dir)
    except (DataError, OSError):
        manifest = None
    if manifest and manifest.sha256 == run_config["data_sha256"]:
        names, options = manifest.titles, _image_options(manifest.provenance)
    else:
        names, options = run_config["labels"], ImageOptions()
        text = f"{data_dir} is not the data set of the run as shardtune build left it: images are prepared as by its defaults."
        print_on_root(world, f"{text} Name that data set with --data_dir.", sys.stderr)
    return _Trained(checkpoint, [BACKGROUND, *names], checkpoint.num_classes, options)


def _image_options(provenance: Mapping[str, Any]) -> ImageOptions:
    """The options of `build` that are known."""
    return ImageOptions(**{name: provenance[name] for name in ("exif", "max_side", "quality") if name in provenance})


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
