"""`shardtune inspect --augmented`: what the network sees of some examples, as a picture."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shardtune.config import Augmentation
from shardtune.dataset.index import open_data_set
from shardtune.errors import DataError
from shardtune.input.augment import training_image
from shardtune.input.pipeline import example_seeds, parse
from shardtune.input.reader import RecordReader
from shardtune.inspect.config import InspectConfig
from shardtune.runtime.files import atomic_write
from shardtune.runtime.frameworks import tf
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

EXAMPLES = 8
EPOCHS = 5  # how often each is drawn
SIDE = 149  # pixels
GAP = 4
HEADING = 20
COLUMNS: list[tuple[Augmentation, int]] = [("none", 1), ("light", EPOCHS), ("inception", EPOCHS)]


def preview(config: InspectConfig, world: World) -> None:
    """Write the contact sheet of augmented examples. Rank 0 does it all.

    Raises:
        DataError: there is no data set, or it is damaged.
    """
    world.broadcast_from_root(lambda: _preview(config, world))


def _preview(config: InspectConfig, world: World) -> None:
    manifest, records = open_data_set(config.data_dir, world)
    reader = RecordReader(config.data_dir, manifest, "train", records["train"])
    if not len(reader):
        raise DataError(f"There is something to augment, but {config.data_dir} has no training examples: build it again.")
    with tf.device("CPU"):
        sheet = augmented_sheet(reader)
    with atomic_write(config.output) as file:
        sheet.save(file, "PNG")
    print_on_root(
        world,
        f"{config.output} shows a training example in each row: as --augment none sees it, {EPOCHS} times under light, and "
        f"{EPOCHS} times under inception.",
    )


def augmented_sheet(reader: RecordReader) -> Image.Image:
    """8 examples from all over the data set, a row each: as evaluation sees them, 5 times light, 5 times inception.

    They are what a run of seed 0 sees in its first epochs.
    """
    indices = np.unique(np.linspace(0, len(reader) - 1, EXAMPLES, dtype=np.int64))
    drawn = [(name, epoch) for name, times in COLUMNS for epoch in range(times)]
    step = SIDE + GAP
    sheet = Image.new("RGB", (len(drawn) * step, HEADING + len(indices) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, epoch) in enumerate(drawn):
        draw.text((column * step, 2), f"{name}, epoch {epoch}", "black", ImageFont.load_default(14))
    for row, (index, record) in enumerate(zip(indices, reader.read(indices), strict=True)):
        jpeg, _, boxes = parse(record, boxes=True)
        for column, (name, epoch) in enumerate(drawn):
            (seed,) = example_seeds(0, np.array([epoch]), np.array([index]))
            image = training_image(jpeg, boxes, SIDE, name, tf.constant(seed))
            sheet.paste(_picture(image), (column * step, HEADING + row * step))
    return sheet


def _picture(image: Any) -> Image.Image:
    return Image.fromarray(np.round((image.numpy() + 1) * 127.5).astype(np.uint8))
