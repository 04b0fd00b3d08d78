import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.columns import (
    LABEL_COLUMN_NAME,
    RECORD_DTYPE,
    RECORDS_NAME,
    load_label_column,
    load_record_index,
    save_record_index,
)
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest, Shard
from shardtune.errors import DataError
from tests.jsonvalues import json_values

RECORDS = np.array([(0, 7), (100, 2**32 - 1), (0, 0), (0, 1), (70, 2), (2**40, 3)], RECORD_DTYPE)


@pytest.fixture
def saved(tmp_path: Path) -> Manifest:
    """A manifest of three training and three validation examples, saved in tmp_path."""
    manifest = Manifest(
        labels=["Gänseblümchen", "rose"],
        splits={
            "train": [Shard("train-00000-of-00002", 2, 200, "aa"), Shard("train-00001-of-00002", 1, 90, "bb")],
            "validation": [Shard("validation-00000-of-00001", 3, 2**41, "cc")],
        },
        class_counts={"train": [2, 1], "validation": [0, 3]},
        records_sha256=save_record_index(tmp_path, RECORDS),
        provenance={"seed": 3},
        reports={"rejects.jsonl": "dd"},
        words=["daisy", "a rose"],
    )
    manifest.save(tmp_path)
    return manifest


def rewrite(path: Path, change: dict[str, Any]) -> None:
    """Change fields of a manifest as a writer of manifests would: with the digest that belongs to them."""
    value = json.loads(path.read_text()) | change
    del value["manifest_sha256"]
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_text(json.dumps({**value, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}))


KEYS = ["schema_version", "labels", "splits", "class_counts", "records_sha256", "provenance", "reports", "words"]


@given(key=st.sampled_from(KEYS), within=st.sampled_from(["", "train", "name", "examples", "sha256"]), value=json_values())
@pytest.mark.usefixtures("saved")
def test_any_value_in_place_of_a_field_is_refused_or_one(tmp_path: Path, key: str, within: str, value: Any) -> None:
    path = tmp_path / MANIFEST_NAME
    content = path.read_bytes()
    manifest = json.loads(content)
    if within in ("name", "examples", "sha256"):
        manifest["splits"]["validation"][0][within] = value
    elif within and isinstance(manifest[key], dict):
        manifest[key][within] = value
    else:
        manifest[key] = value
    rewrite(path, manifest)
    try:
        loaded = Manifest.load(tmp_path)
        assert loaded.sha256 == json.loads(path.read_bytes())["manifest_sha256"]
        load_record_index(tmp_path, loaded)
        loaded.check_shards(tmp_path, "train")
    except DataError:
        pass
    finally:
        path.write_bytes(content)


@given(value=json_values())
def test_any_value_in_place_of_a_manifest_is_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(value))
    with pytest.raises(DataError):
        Manifest.load(tmp_path)


@pytest.mark.usefixtures("saved")
def test_a_manifest_of_schema_1_keeps_its_digest(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    value = json.loads(path.read_text())
    del value["reports"]
    path.write_text(json.dumps(value))
    rewrite(path, {"schema_version": 1})
    loaded = Manifest.load(tmp_path)
    assert loaded.reports == {}
    assert loaded.sha256 == json.loads(path.read_text())["manifest_sha256"]  # by which a run knows its data set


def test_words_are_shown_behind_the_names_and_need_not_be_there(tmp_path: Path, saved: Manifest) -> None:
    assert saved.titles == ["Gänseblümchen daisy", "rose a rose"]
    replace(saved, words=[]).save(tmp_path)
    assert "words" not in json.loads((tmp_path / MANIFEST_NAME).read_text())  # as before there were any
    assert Manifest.load(tmp_path).titles == saved.labels


def test_what_was_saved_is_loaded(tmp_path: Path, saved: Manifest) -> None:
    loaded = Manifest.load(tmp_path)
    assert loaded == saved
    assert loaded.num_classes == 3
    assert (loaded.examples("train"), loaded.examples("validation")) == (3, 3)
    records = load_record_index(tmp_path, loaded)
    assert records["train"].tolist() == [(0, 7), (100, 2**32 - 1), (0, 0)]
    assert records["validation"].tolist() == [(0, 1), (70, 2), (2**40, 3)]


def test_the_labels_of_each_split_are_loaded(tmp_path: Path, saved: Manifest) -> None:
    assert load_label_column(tmp_path, saved) is None  # it was written before there was labels.bin
    data = b"".join(label.to_bytes(4, "little") for label in (2, 1, 1, 2, 70_000, 2))
    (tmp_path / LABEL_COLUMN_NAME).write_bytes(data)
    labels = load_label_column(tmp_path, replace(saved, reports={LABEL_COLUMN_NAME: hashlib.sha256(data).hexdigest()}))
    assert labels
    assert {split: column.tolist() for split, column in labels.items()} == {
        "train": [2, 1, 1],
        "validation": [2, 70_000, 2],
        "test": [],
    }
    (tmp_path / LABEL_COLUMN_NAME).write_bytes(data[4:])
    for sha256 in ("dd", hashlib.sha256(data[4:]).hexdigest()):
        with pytest.raises(DataError, match=f"{LABEL_COLUMN_NAME} is missing or does not belong to"):
            load_label_column(tmp_path, replace(saved, reports={LABEL_COLUMN_NAME: sha256}))


def test_no_data_set_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist\. Run shardtune build first"):
        Manifest.load(tmp_path)
    with pytest.raises(DataError, match=r"does not exist\. Run shardtune build first"):
        Manifest.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("a file where a directory was expected")
    with pytest.raises(DataError, match=r"does not exist\. Run shardtune build first"):
        Manifest.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 4}, "has schema 4, but this shardtune reads schema 1 to 3"),
        # A later schema may have fields that this one has not: what to say is that it is later.
        ({"schema_version": 4, "more": []}, "has schema 4, but this shardtune reads schema 1 to 3"),
        ({"schema_version": 3}, "not a data set manifest .*test"),
        ({"schema_version": 1}, "not a data set manifest .*schema 1 has other fields"),
        ({"reports": {}}, "not a data set manifest .*schema 2 has other fields"),
        ({"words": []}, "not a data set manifest .*schema 2 has other fields"),
        ({"words": ["daisy"]}, "not a data set manifest .*a field has another type"),  # of one class of two
        ({"words": ["daisy", 3]}, "not a data set manifest .*a field has another type"),
        ({"words": "ab"}, "not a data set manifest .*a field has another type"),
        ({"more": []}, "not a data set manifest"),
        ({"splits": {"train": []}}, "not a data set manifest .*validation"),
        ({"splits": []}, "not a data set manifest"),
        ({"splits": {"train": [{"name": "x"}], "validation": []}}, "not a data set manifest"),
    ],
)
@pytest.mark.usefixtures("saved")
def test_another_structure_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rewrite(tmp_path / MANIFEST_NAME, change)
    with pytest.raises(DataError, match=message):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 10_000])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(DataError, match="not a data set manifest"):
        Manifest.load(tmp_path)


@pytest.mark.usefixtures("saved")
def test_a_truncated_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    content = path.read_bytes().rstrip()
    for size in range(0, len(content), 37):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="not a data set manifest"):
            Manifest.load(tmp_path)


@pytest.mark.usefixtures("saved")
def test_every_flipped_bit_of_the_manifest_is_found(tmp_path: Path) -> None:
    content = (tmp_path / MANIFEST_NAME).read_bytes().rstrip()  # the last line's end says nothing
    file = os.open(tmp_path / MANIFEST_NAME, os.O_RDWR)
    for bit in range(8 * len(content)):
        position = bit // 8
        os.pwrite(file, bytes([content[position] ^ 1 << bit % 8]), position)
        with pytest.raises(DataError, match=r"edited or damaged|not a data set manifest|reads schema 1 to 3"):
            Manifest.load(tmp_path)
        os.pwrite(file, content[position : position + 1], position)
    os.close(file)


@pytest.mark.usefixtures("saved")
def test_an_edit_is_found_and_a_new_layout_is_none(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    value = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(value.items()))))
    Manifest.load(tmp_path)
    path.write_text(json.dumps(value | {"labels": ["daisy", "rose"]}))
    with pytest.raises(DataError, match=f"{path} was edited or damaged: its content does not match its digest"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("name", ["../train-00000-of-00001", "/etc/passwd", "sub/shard", "./shard"])
@pytest.mark.usefixtures("saved")
def test_a_shard_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / MANIFEST_NAME
    splits = json.loads(path.read_text())["splits"]
    splits["validation"][0]["name"] = name
    rewrite(path, {"splits": splits})
    with pytest.raises(DataError, match=f"{path} lists '{name}', which is not the name of a file in its own directory"):
        Manifest.load(tmp_path)


@pytest.mark.usefixtures("saved")
def test_records_of_another_number_are_refused(tmp_path: Path) -> None:
    for records in (RECORDS[:-1], RECORDS.repeat(2)):
        rewrite(tmp_path / MANIFEST_NAME, {"records_sha256": save_record_index(tmp_path, records)})
        with pytest.raises(DataError, match=f"{RECORDS_NAME} is missing or does not belong to"):
            load_record_index(tmp_path, Manifest.load(tmp_path))


def test_every_flipped_bit_of_the_records_is_found(tmp_path: Path, saved: Manifest) -> None:
    path = tmp_path / RECORDS_NAME
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{RECORDS_NAME} is missing or does not belong to"):
            load_record_index(tmp_path, saved)
    path.unlink()
    with pytest.raises(DataError, match=f"{RECORDS_NAME} is missing or does not belong to"):
        load_record_index(tmp_path, saved)
