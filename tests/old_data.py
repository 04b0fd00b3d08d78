"""Data sets as they were written before there was labels.bin."""

from dataclasses import replace
from pathlib import Path

from shardtune.dataset.columns import LABEL_COLUMN_NAME
from shardtune.dataset.manifest import Manifest


def before_label_column(directory: Path) -> None:
    """Take labels.bin, and its digest in the manifest, from a data set."""
    manifest = Manifest.load(directory)
    reports = {name: digest for name, digest in manifest.reports.items() if name != LABEL_COLUMN_NAME}
    replace(manifest, reports=reports).save(directory)
    (directory / LABEL_COLUMN_NAME).unlink()
