"""`shardtune inspect`: tables of the contents of a data set, and a contact sheet of its classes."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from shardtune.dataset.columns import load_label_column, load_record_index
from shardtune.dataset.example import decode_example
from shardtune.dataset.manifest import Manifest
from shardtune.input.order import Indices
from shardtune.input.reader import RecordReader
from shardtune.inspect.config import InspectConfig
from shardtune.inspect.picture import write_png
from shardtune.runtime.progress import escape_line, print_on_root
from shardtune.runtime.world import World

EXAMPLES_PER_CLASS = 8
MAX_CLASSES = 50
CELL_PIXELS = 128  # width and height of an example on the sheet, with its margin
MARGIN_PIXELS = 4
HEADING_PIXELS = 24  # height of the line above a class
ROW_PIXELS = HEADING_PIXELS + CELL_PIXELS


def inspect(config: InspectConfig, world: World) -> None:
    """Print tables of a data set and write its contact sheet. Only rank 0 works.

    Raises:
        DataError: there is no data set, it is damaged, or the picture cannot be written.
    """
    world.broadcast_from_root(lambda: _inspect(config, world))


def _inspect(config: InspectConfig, world: World) -> None:
    manifest = Manifest.load(config.data_dir)
    # Under mpirun, stdout is a terminal even where mpirun's own output goes to a file; stdin is not.
    console = Console(file=sys.stdout, markup=False, emoji=False, force_terminal=None if sys.stdin.isatty() else False)
    if not console.is_terminal:
        console.width = 10_000  # programs get whole lines
    for table in (_split_table(manifest), _class_table(manifest), _provenance_table(manifest)):
        console.print(table)
    write_png(contact_sheet(config.data_dir, manifest), config.output)
    classes = len(manifest.labels)
    shown = f"{classes} classes" if classes <= MAX_CLASSES else f"the first {MAX_CLASSES} of {classes} classes"
    print_on_root(world, f"{config.output} shows up to {EXAMPLES_PER_CLASS} training examples of each of {shown}.")


def contact_sheet(directory: Path, manifest: Manifest) -> Image.Image:
    """The first 8 training examples, in the order of the data set, of each of the first 50 classes, a row each.

    Raises:
        DataError: labels.bin, a shard or a record is damaged.
    """
    counts = dict(enumerate(manifest.class_counts["train"][:MAX_CLASSES], start=1))
    sheet = Image.new("RGB", (EXAMPLES_PER_CLASS * CELL_PIXELS, len(counts) * ROW_PIXELS), "white")
    draw, font, titles = ImageDraw.Draw(sheet), ImageFont.load_default(HEADING_PIXELS * 2 / 3), manifest.titles
    for label, count in counts.items():
        draw.text((4, (label - 1) * ROW_PIXELS + 2), f"{label} {titles[label - 1]} ({count})", "black", font)
    for label, column, jpeg in _first_examples(directory, manifest, counts):
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            picture.thumbnail((CELL_PIXELS - MARGIN_PIXELS, CELL_PIXELS - MARGIN_PIXELS))
            sheet.paste(picture, (column * CELL_PIXELS, (label - 1) * ROW_PIXELS + HEADING_PIXELS))
    return sheet


def _first_examples(directory: Path, manifest: Manifest, counts: dict[int, int]) -> Iterator[tuple[int, int, bytes]]:
    """Label, number within its class (from 0) and JPEG of the first training examples of each class.

    Args:
        counts: training examples of each label that is shown.
    """
    reader = RecordReader(directory, manifest, "train", load_record_index(directory, manifest)["train"])
    wanted = {label: min(EXAMPLES_PER_CLASS, count) for label, count in counts.items()}
    labels = load_label_column(directory, manifest)
    if labels is None:
        first = _search(reader, wanted)
    else:
        first = {label: np.flatnonzero(labels["train"] == label)[:number] for label, number in wanted.items()}
    for label, indices in first.items():
        for column, record in enumerate(reader.read(indices)):
            yield label, column, decode_example(record)["image/encoded"][0]


def _search(reader: RecordReader, wanted: dict[int, int]) -> dict[int, Indices]:
    """Indices of the first examples of each label, of a data set without labels.bin: records are read until all are found.

    Args:
        wanted: how many of each label.
    """
    found: dict[int, list[int]] = {label: [] for label in wanted}
    missing = sum(wanted.values())
    for index in range(len(reader)):
        if not missing:
            break
        (label,) = decode_example(reader.read(np.array([index]))[0])["image/class/label"]
        if len(found.get(label, ())) < wanted.get(label, 0):
            found[label].append(index)
            missing -= 1
    return {label: np.array(indices) for label, indices in found.items()}


def _split_table(manifest: Manifest) -> Table:
    table = _table("split", "examples", "shards", "bytes", "smallest shard", "mean", "largest")
    for split, shards in manifest.splits.items():
        sizes = [shard.bytes for shard in shards]
        if sizes:
            shard_sizes = (sum(sizes), min(sizes), sum(sizes) // len(sizes), max(sizes))
            table.add_row(split, str(sum(shard.examples for shard in shards)), str(len(sizes)), *map(decimal, shard_sizes))
    return table


def _class_table(manifest: Manifest) -> Table:
    """Examples of each class, and the size of the largest class divided by that of the smallest."""
    counts = [manifest.class_counts[split] for split in manifest.splits]
    table = _table("label", "class", *manifest.splits)
    for label, (title, *numbers) in enumerate(zip(manifest.titles, *counts, strict=True), start=1):
        table.add_row(str(label), escape_line(title), *map(str, numbers))
    ratios = [f"{max(numbers) / min(numbers):.2f}" if min(numbers) else "-" for numbers in counts]
    table.add_row("", "largest / smallest", *ratios)
    return table


def _provenance_table(manifest: Manifest) -> Table:
    table = _table("made with", "")
    for name, value in manifest.provenance.items():
        table.add_row(name, escape_line(_format_value(value)))
    return table


def _table(first: str, second: str, *numbers: str) -> Table:
    table = Table(first, second, box=None)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _format_value(value: Any) -> str:
    """A value of the provenance as text; of a list, its length."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format_value(item)}" for name, item in value.items()) or "none"
    return str(len(value)) if isinstance(value, list) else str(value)
