"""`shardtune inspect --augmented`: a picture of some examples as the network sees them."""

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
from shardtune.inspect.picture import write_png
from shardtune.runtime.frameworks import tf
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

EXAMPLES = 8
EPOCHS = 5
IMAGE_PIXELS = 149  # width and height
GAP_PIXELS = 4
HEADING_PIXELS = 20
COLUMNS: list[tuple[Augmentation, int]] = [  # augmentation and epoch
    ("none", 0),
    *(("light", epoch) for epoch in range(EPOCHS)),
    *(("inception", epoch) for epoch in range(EPOCHS)),
]


def preview(config: InspectConfig, world: World) -> None:
    """Write the contact sheet of augmented examples. Only rank 0 works.

    Raises:
        DataError: there is no data set, it is damaged, or the picture cannot be written.
    """
    world.broadcast_from_root(lambda: _preview(config, world))


def _preview(config: InspectConfig, world: World) -> None:
    manifest, records = open_data_set(config.data_dir, world)
    reader = RecordReader(config.data_dir, manifest, "train", records["train"])
    if not len(reader):
        raise DataError(
            f"{config.data_dir} has no training examples.", "Choose a data directory with training examples, or build it again."
        )
    with tf.device("CPU"):
        sheet = augmented_sheet(reader)
    write_png(sheet, config.output)
    print_on_root(
        world,
        f"{config.output} shows a training example in each row: once under --augment none, {EPOCHS} times under light, and "
        f"{EPOCHS} times under inception.",
    )


def augmented_sheet(reader: RecordReader) -> Image.Image:
    """8 examples from all over the data set, one per row: as evaluation sees them, 5 times light, 5 times inception.

    A run of seed 0 sees these images in its first epochs.
    """
    indices = np.unique(np.linspace(0, len(reader) - 1, EXAMPLES, dtype=np.int64))
    step = IMAGE_PIXELS + GAP_PIXELS
    sheet = Image.new("RGB", (len(COLUMNS) * step, HEADING_PIXELS + len(indices) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, epoch) in enumerate(COLUMNS):
        draw.text((column * step, 2), f"{name}, epoch {epoch}", "black", ImageFont.load_default(14))
    for row, (index, record) in enumerate(zip(indices, reader.read(indices), strict=True)):
        jpeg, _, boxes = parse(record, boxes=True)
        for column, (name, epoch) in enumerate(COLUMNS):
            (seed,) = example_seeds(0, np.array([epoch]), np.array([index]))
            image = training_image(jpeg, boxes, IMAGE_PIXELS, name, tf.constant(seed))
            sheet.paste(_picture(image), (column * step, HEADING_PIXELS + row * step))
    return sheet


def _picture(image: Any) -> Image.Image:
    return Image.fromarray(np.round((image.numpy() + 1) * 127.5).astype(np.uint8))
