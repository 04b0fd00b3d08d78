"""`shardtune inspect`: tables of what a data set holds, and a contact sheet of its classes."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from shardtune.dataset.example import decode_example
from shardtune.dataset.manifest import SPLITS, Manifest, load_record_index
from shardtune.input.reader import RecordReader
from shardtune.inspect.config import InspectConfig
from shardtune.runtime.files import atomic_write
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

PER_CLASS = 8
MAX_CLASSES = 50
SIDE = 128  # pixels that an example has on the sheet
MARGIN = 4  # pixels of them that stay white
HEADING = 24  # pixels of the line above a class


def inspect(config: InspectConfig, world: World) -> None:
    """Print what a data set holds and write its contact sheet. Rank 0 does it all.

    Raises:
        DataError: there is no data set, or it is damaged.
    """
    world.broadcast_from_root(lambda: _inspect(config, world))


def _inspect(config: InspectConfig, world: World) -> None:
    manifest = Manifest.load(config.data_dir)
    # mpirun gives a terminal to write to even where its own output goes to a file, but none to read from.
    console = Console(file=sys.stdout, markup=False, emoji=False, force_terminal=None if sys.stdin.isatty() else False)
    if not console.is_terminal:
        console.width = 10_000  # lines are never broken for programs
    for table in (_splits(manifest), _classes(manifest), _provenance(manifest)):
        console.print(table)
    sheet = contact_sheet(config.data_dir, manifest)
    with atomic_write(config.output) as file:
        sheet.save(file, "PNG")
    classes = len(manifest.labels)
    shown = f"{classes} classes" if classes <= MAX_CLASSES else f"the first {MAX_CLASSES} of {classes} classes"
    print_on_root(world, f"{config.output} shows up to {PER_CLASS} training examples of each of {shown}.")


def contact_sheet(directory: Path, manifest: Manifest) -> Image.Image:
    """The first 8 training examples, in the order of the data set, of each of the first 50 classes, a row each.

    Raises:
        DataError: a shard or a record is damaged.
    """
    counts = dict(enumerate(manifest.class_counts["train"][:MAX_CLASSES], start=1))
    sheet = Image.new("RGB", (PER_CLASS * SIDE, len(counts) * (HEADING + SIDE)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(HEADING * 2 / 3)
    for label, count in counts.items():
        draw.text((4, (label - 1) * (HEADING + SIDE) + 2), f"{label} {manifest.labels[label - 1]} ({count})", "black", font)
    reader = RecordReader(directory, manifest, "train", load_record_index(directory, manifest)["train"])
    shown = dict.fromkeys(counts, 0)
    wanted = {label: min(PER_CLASS, count) for label, count in counts.items()}
    for index in range(len(reader)):
        if shown == wanted:
            break
        features = decode_example(reader.read(np.array([index]))[0])
        (label,) = features["image/class/label"]
        if shown.get(label, 0) < wanted.get(label, 0):
            with Image.open(io.BytesIO(features["image/encoded"][0]), formats=("JPEG",)) as picture:
                picture.thumbnail((SIDE - MARGIN, SIDE - MARGIN))
                sheet.paste(picture, (shown[label] * SIDE, (label - 1) * (HEADING + SIDE) + HEADING))
            shown[label] += 1
    return sheet


def _splits(manifest: Manifest) -> Table:
    table = _table("split", "examples", "shards", "bytes", "smallest shard", "mean", "largest")
    for split in SPLITS:
        sizes = [shard.bytes for shard in manifest.splits[split]]
        if sizes:
            told = (sum(sizes), min(sizes), sum(sizes) // len(sizes), max(sizes))
            table.add_row(split, str(manifest.examples(split)), str(len(sizes)), *map(decimal, told))
    return table


def _classes(manifest: Manifest) -> Table:
    """Examples of each class, and how many times the smallest the largest has."""
    counts = [manifest.class_counts[split] for split in SPLITS]
    table = _table("label", "class", *SPLITS)
    for label, (name, *numbers) in enumerate(zip(manifest.labels, *counts, strict=True), start=1):
        table.add_row(str(label), _printable(name), *map(str, numbers))
    ratios = [f"{max(numbers) / min(numbers):.2f}" if min(numbers) else "-" for numbers in counts]
    table.add_row("", "largest / smallest", *ratios)
    return table


def _provenance(manifest: Manifest) -> Table:
    table = _table("made with", "")
    for name, value in manifest.provenance.items():
        table.add_row(name, _printable(_told(value)))
    return table


def _table(first: str, second: str, *numbers: str) -> Table:
    table = Table(first, second, box=None)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _told(value: Any) -> str:
    """A value of the provenance in words; of a list only how long it is."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(part)}" for name, part in value.items()) or "none"
    return str(len(value)) if isinstance(value, list) else str(value)


def _printable(text: str) -> str:
    """Text from a manifest, with what could steer a terminal made visible."""
    return text if text.isprintable() else repr(text)
