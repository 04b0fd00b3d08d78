"""Errors of reads name the file, although the call that fails does not know it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shardtune.builder.recipe import load_rejected_keys
from shardtune.dataset.columns import RECORDS_NAME, load_record_index
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.runtime.world import World
from shardtune.train.metrics import MetricsWriter
from tests.faults.mounts import Fault, Mounter, Options
from tests.input.shards import reader_of
from tests.records import contents


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (MANIFEST_NAME, Manifest.load),
        (RECORDS_NAME, lambda directory: load_record_index(directory, Manifest.load(directory))),
        ("train-00000-of-00004", lambda directory: reader_of(directory).read(np.arange(9))),
        (".shardtune/recipe.json", load_rejected_keys),
        ("foreign/train-00000-of-00004", lambda directory: open_data_set(directory / "foreign", World())),
        ("foreign/labels.txt", lambda directory: open_data_set(directory / "foreign", World())),
        ("run/metrics.jsonl", lambda directory: MetricsWriter(directory / "run", 0)),
    ],
)
def test_an_error_names_the_file(
    small_data: Path, hostile_directory: Mounter, tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault("read", f"/{name}", 1, "EIO")))
    for folder in ("", "foreign", ".shardtune", "run"):
        (tmp_path / "backing" / folder).mkdir(exist_ok=True)
    for file, content in contents(small_data).items():
        (tmp_path / "backing" / file).write_bytes(content)
        if file not in (MANIFEST_NAME, RECORDS_NAME):
            (tmp_path / "backing" / "foreign" / file).write_bytes(content)
    recipe = Path(".shardtune", "recipe.json")
    (tmp_path / "backing" / recipe).write_bytes((small_data / recipe).read_bytes())
    (tmp_path / "backing" / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(mount)
    assert caught.value.filename == str(mount / name)
    read(mount)


def test_shards_in_a_folder_that_cannot_be_listed_once_are_all_found(
    small_data: Path, hostile_directory: Mounter, tmp_path: Path
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault("readdir", "/", 1, "EACCES")))
    for path in small_data.glob("*-of-*"):
        (tmp_path / "backing" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(PermissionError, match=f"'{mount}'"):
        open_data_set(mount, World())
    assert open_data_set(mount, World())[0].examples("train") == 60
