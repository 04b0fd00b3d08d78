import json
import pickle
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from shardtune.builder.duplicates import digest
from shardtune.builder.partition import DIGEST_BYTES, ShardPlan
from shardtune.builder.receipts import RECEIPTS_NAME, ShardReceipt, load_receipt, load_valid_receipt, save_receipt
from shardtune.dataset.manifest import SCHEMA_VERSION, WORK_NAME
from shardtune.runtime.sealed import read_sealed, write_sealed
from tests.builder.leftovers import SHARD, output_directory, reject, write_shard
from tests.jsonvalues import json_values
from tests.listings import listing_of


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return output_directory(tmp_path)


def planned(*paths: str, root: Path = Path("images")) -> ShardPlan:
    return ShardPlan("train", SHARD, root, listing_of(paths), {})


def test_a_shard_is_finished_while_it_is_what_was_written(output: Path) -> None:
    assert load_valid_receipt(output, planned()) is None
    shard = write_shard(output, "a/1", reencoded={"png": 1})
    assert load_valid_receipt(output, planned("a/1")) == shard
    (output / SHARD).write_bytes(b"The bytes of a shard")
    assert load_valid_receipt(output, planned()) is None
    (output / SHARD).unlink()
    assert load_valid_receipt(output, planned()) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b'{"sha256": "', b"\xff", b"[" * 10_000])
def test_a_receipt_damaged_by_a_crash_of_the_machine_is_none(output: Path, content: bytes) -> None:
    write_shard(output)
    (output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json").write_bytes(content)
    assert load_valid_receipt(output, planned()) is None


def test_a_receipt_of_another_version_or_shard_is_none(output: Path) -> None:
    write_shard(output)
    path = output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json"
    shard = read_sealed(path, SCHEMA_VERSION)
    assert shard is not None
    others = (
        {"name": "train-00001-of-00002"},
        {"offsets": ["0"]},
        {"offsets": [-1]},
        {"labels": "1"},
        {"crcs": "x"},
        {"crcs": 0},
    )
    for receipt in ({}, *({**shard, **other} for other in others)):
        write_sealed(path, SCHEMA_VERSION, receipt)
        assert load_valid_receipt(output, planned()) is None
    for version in (1, SCHEMA_VERSION + 1):
        write_sealed(path, version, {"other": "fields"})
        assert load_valid_receipt(output, planned()) is None
    path.write_text(json.dumps(shard))  # as in version 1
    assert load_valid_receipt(output, planned()) is None


def test_a_receipt_takes_little_memory_and_its_file_is_as_before(output: Path) -> None:
    shard = ShardReceipt("train", SHARD, 20, "", array("Q", [0, 10]), b"\0\1\2\3" * 2, array("i", [1, 300]), b"\xff" * 32)
    assert len(pickle.dumps(replace(shard, offsets=shard.offsets * 1000, labels=shard.labels * 1000, crcs=shard.crcs * 1000,
                                    digests=shard.digests * 1000), protocol=5)) < 40 * 2000  # fmt: skip
    save_receipt(output, shard)
    saved = json.loads((output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json").read_text())
    columns = {"offsets": [0, 10], "crcs": "0001020300010203", "labels": [1, 300], "digests": "ff" * 32}
    assert {name: saved[name] for name in columns} == columns
    assert load_receipt(output, SHARD) == shard


@pytest.mark.parametrize("paths", [(), ("a/1",), ("a/1", "a/3"), ("a/1", "a/2", "a/3"), ("a/2", "a/1")])
def test_a_shard_of_other_images_is_not_finished(output: Path, paths: tuple[str, ...]) -> None:
    write_shard(output, "a/1", "a/2")
    assert load_valid_receipt(output, planned(*paths)) is None


def test_a_shard_is_written_again_when_what_could_not_be_read_can_be(output: Path, tmp_path: Path) -> None:
    shard = write_shard(output, "a/2", rejects={"a/1": bytes(DIGEST_BYTES)})
    assert load_valid_receipt(output, planned("a/1", "a/2", root=tmp_path)) == shard
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"now it is there")
    assert load_valid_receipt(output, planned("a/1", "a/2", root=tmp_path)) is None


def test_a_shard_whose_rejected_images_are_gone_is_finished_without_them(output: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    bad = {f"a/{number}": bytes((number,)) for number in range(3)}
    for path, content in bad.items():
        (tmp_path / path).write_bytes(content)
    shard = write_shard(output, "a/8", "a/9", rejects={path: digest(content) for path, content in bad.items()})
    assert load_valid_receipt(output, planned(*bad, "a/8", "a/9", root=tmp_path)) == shard
    left = load_valid_receipt(output, planned("a/1", "a/8", "a/9", root=tmp_path))
    digests = [digest(content) for content in (bad["a/1"], b"a/8", b"a/9")]
    assert left == replace(shard, rejects=[reject("a/1")], rejected_at=[0], digests=b"".join(digests))
    (tmp_path / "a" / "1").write_bytes(b"repaired")
    assert load_valid_receipt(output, planned("a/1", "a/8", "a/9", root=tmp_path)) is None


@given(value=json_values())
def test_any_value_in_place_of_a_receipt_is_none(output: Path, value: Any) -> None:
    write_shard(output)
    (output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json").write_text(json.dumps(value))
    assert load_valid_receipt(output, planned()) is None
