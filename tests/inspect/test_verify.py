import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.dataset.integrity import load_record_index_by_shard
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.errors import DataError
from shardtune.inspect.config import VerifyConfig
from shardtune.inspect.verify import check_other_files, check_shard, verify
from shardtune.runtime.world import World
from tests.pictures import encoded, picture
from tests.schema1 import downgrade

SHARD = "train-00001-of-00003"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training examples in 3 shards, two each, and two validation examples in 1; the images are as small as can be."""
    directory, generator = tmp_path_factory.mktemp("tiny"), np.random.default_rng(3)
    for split, count in (("train", 3), ("validation", 1)):
        for label in ("a", "b"):
            (directory / split / label).mkdir(parents=True)
            for number in range(count):
                jpeg = encoded(picture(generator, 8, 8), quality=10, optimize=True)
                (directory / split / label / f"{number}.jpg").write_bytes(jpeg)
    for name in ("original", "copy"):  # files that are left out and reported
        (directory / "validation" / "a" / f"{name}.jpg").write_bytes(b"a copy of no image")
    folders = {f"{split}_directory": directory / split for split in ("train", "validation")}
    data = directory / "data"
    build(BuildConfig(**folders, output_directory=data, train_shards=3, validation_shards=1, max_rejects=2, seed=1), World())
    return directory / "data"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A data directory that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def findings(directory: Path) -> list[str]:
    """The lines of what `verify` finds."""
    with pytest.raises(DataError) as caught:
        verify(VerifyConfig(directory), World())
    sentence, *lines = str(caught.value).splitlines()
    assert sentence.startswith(f"{directory} has changed since it was built. Restore")
    return lines


def test_an_intact_data_set_passes(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(VerifyConfig(tiny), World())
    assert capsys.readouterr().out.splitlines()[-1] == "Verified 8 examples in 4 shards: all as written."


@pytest.mark.parametrize("with_records", [True, False])
def test_every_flipped_bit_is_found_in_its_record(copy: Path, with_records: bool) -> None:
    manifest = Manifest.load(copy)
    records = load_record_index_by_shard(copy, manifest)
    assert records is not None
    starts = records[1]["start"]
    content = (copy / SHARD).read_bytes()
    images = [slice(content.index(b"\xff\xd8", start), content.index(b"\xff\xd9", start)) for start in starts.tolist()]
    named, file = 0, os.open(copy / SHARD, os.O_RDWR)
    for bit in range(8 * len(content)):
        position = bit // 8
        os.pwrite(file, bytes([content[position] ^ 1 << bit % 8]), position)
        (finding,) = check_shard(copy, manifest, 1, lambda: records if with_records else None)
        os.pwrite(file, content[position : position + 1], position)
        number = int(position >= starts[1])
        assert finding.startswith(f"{SHARD}: record {number} at byte {starts[number]}")
        assert re.search(r": the CRC of its (length|data) does not match$", finding)
        if images[number].start <= position < images[number].stop:
            assert re.search(r" \(image '[ab]/[012]\.jpg'\): ", finding)
            named += 1
    os.close(file)
    assert named > 8 * 2 * 100
    assert check_shard(copy, manifest, 1, lambda: records) == []


@pytest.mark.parametrize("with_records", [True, False])
def test_every_truncation_is_found_where_it_begins(copy: Path, with_records: bool) -> None:
    manifest = Manifest.load(copy)
    records = load_record_index_by_shard(copy, manifest)
    assert records is not None
    starts = records[1]["start"]
    content = (copy / SHARD).read_bytes()
    for size in range(len(content)):
        (copy / SHARD).write_bytes(content[:size])
        first, *others = check_shard(copy, manifest, 1, lambda: records if with_records else None)
        assert first == f"{SHARD}: has {size} bytes instead of {len(content)}"
        expected = []
        cut = int(size >= starts[1])
        if size > starts[cut]:
            expected.append(f"{SHARD}: record {cut} at byte {starts[cut]}: it ")
        if with_records and size <= starts[1]:
            missing = int(size > 0)
            expected.append(f"{SHARD}: ends before record {missing} of 2 at byte {starts[missing]}")
        assert len(others) == len(expected)
        assert all(map(str.startswith, others, expected))


def swap(directory: Path, first: str, second: str) -> None:
    (directory / first).rename(directory / "aside")
    (directory / second).rename(directory / first)
    (directory / "aside").rename(directory / second)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def exchange_records(path: Path) -> None:
    """Put the last record of a shard first; the CRC of each still matches."""
    content = path.read_bytes()
    end = 16 + int.from_bytes(content[:8], "little")
    path.write_bytes(content[end:] + content[:end])


RECORDS = "records.bin: is missing or damaged; without it, a shard is checked only up to its first damaged length"
LABELS = "labels.txt: is missing or does not list the classes of the manifest"
VALIDATION = "validation-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda d: (d / SHARD).unlink(), [f"{SHARD}: is missing"]),
        (lambda d: ((d / SHARD).unlink(), (d / SHARD).mkdir()), [f"{SHARD}: is missing"]),
        (
            lambda d: ((d / SHARD).unlink(), (d / SHARD).symlink_to("/proc/self/mem")),  # a file whose first byte is an EIO
            [rf"{SHARD}: cannot be read \(Input/output error\)"],
        ),
        (lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes() + b"more"), [rf"{SHARD}: has \d+ bytes instead of \d+"]),
        (
            lambda d: swap(d, SHARD, VALIDATION),
            [f"{SHARD}: has the bytes of {VALIDATION}", f"{VALIDATION}: has the bytes of {SHARD}"],
        ),
        (lambda d: shutil.copy(d / VALIDATION, d / SHARD), [f"{SHARD}: has the bytes of {VALIDATION}"]),
        (lambda d: flip(d / SHARD, 0), [rf"{SHARD}: record 0 at byte 0 \(image '.*'\): the CRC of its length does not match"]),
        (
            lambda d: (flip(d / SHARD, 3), flip(d / SHARD, -1)),
            [f"{SHARD}: record 0 at byte 0 .*length does", rf"{SHARD}: record 1 at byte \d+ .*data does not match"],
        ),
        (lambda d: (d / "train-00003-of-00003").touch(), ["train-00003-of-00003: is not a shard of this data set"]),
        (
            lambda d: shutil.copy(d / SHARD, d / "validation-00000-of-00002"),
            ["validation-00000-of-00002: is not a shard of this data set"],
        ),
        (lambda d: (d / "records.bin").unlink(), [RECORDS]),
        (lambda d: flip(d / "records.bin", 8), [RECORDS]),
        (lambda d: (d / "labels.bin").unlink(), ["labels.bin: is missing or damaged"]),
        (lambda d: flip(d / "labels.bin", 1), ["labels.bin: is missing or damaged"]),
        (lambda d: (d / "rejects.jsonl").unlink(), ["rejects.jsonl: is missing or damaged"]),
        (lambda d: (d / "rejects.jsonl").write_text("{}\n"), ["rejects.jsonl: is missing or damaged"]),
        (lambda d: flip(d / "duplicates.jsonl", 0), ["duplicates.jsonl: is missing or damaged"]),
        (lambda d: (d / "labels.txt").unlink(), [LABELS]),
        (lambda d: (d / "labels.txt").write_text("b\na\n"), [LABELS]),
        (lambda d: (d / "labels.txt").write_text("a\nb\n\n"), [LABELS]),
        (
            lambda d: ((d / SHARD).unlink(), flip(d / VALIDATION, 12), flip(d / "records.bin", 0), (d / "labels.txt").unlink()),
            [f"{SHARD}: is missing", f"{VALIDATION}: record 0 at byte 0: the CRC of its data does not match", LABELS, RECORDS],
        ),
    ],
)
def test_every_change_is_named(copy: Path, damage: Callable[[Path], object], expected: list[str]) -> None:
    damage(copy)
    found = findings(copy)
    assert len(found) == len(expected)
    for finding, pattern in zip(found, expected, strict=True):
        assert re.match(pattern, finding), (finding, pattern)


def test_exchanged_records_are_found(tmp_path: Path) -> None:
    jpeg = encoded(picture(np.random.default_rng(0), 8, 8))
    for name in ("x.jpg", "y.jpg"):  # of one size, so that both records keep their starts
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "a" / name).write_bytes(jpeg)
    build(BuildConfig(tmp_path / "images", output_directory=tmp_path / "data", train_shards=1), World())
    exchange_records(tmp_path / "data" / "train-00000-of-00001")
    found = findings(tmp_path / "data")
    assert len(found) == 2
    for number, finding in enumerate(found):
        assert re.fullmatch(
            rf"train-00000-of-00001: record {number} at byte \d+ \(image 'a/[xy]\.jpg'\): its CRC matches, but it is not "
            r"the record that was written",
            finding,
        )
    (tmp_path / "data" / "records.bin").unlink()
    assert findings(tmp_path / "data") == [
        "train-00000-of-00001: the CRC of every record matches, but they are not the records that were written",
        RECORDS,
    ]


def test_every_flipped_bit_of_the_reports_is_found(copy: Path) -> None:
    manifest = Manifest.load(copy)
    for name in manifest.reports:
        content = (copy / name).read_bytes()
        assert content
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            (copy / name).write_bytes(damaged)
            assert check_other_files(copy, manifest) == [f"{name}: is missing or damaged"]
        (copy / name).write_bytes(content)
    assert check_other_files(copy, manifest) == []


def test_a_data_set_of_schema_1_is_verified(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    downgrade(copy)
    verify(VerifyConfig(copy), World())
    assert capsys.readouterr().out.splitlines()[-1] == "Verified 8 examples in 4 shards: all as written."
    flip(copy / VALIDATION, -1)
    (finding,) = findings(copy)
    assert re.fullmatch(rf"{VALIDATION}: record 1 at byte \d+ \(image '[ab]/0\.jpg'\): the CRC of its data .*", finding)


def test_an_edited_manifest_is_found(copy: Path) -> None:
    path = copy / MANIFEST_NAME
    value = json.loads(path.read_text())
    value["splits"]["train"][0]["examples"] += 1
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=f"{path} was edited or damaged"):
        verify(VerifyConfig(copy), World())


def test_the_record_index_of_right_shards_is_not_read(copy: Path) -> None:
    def read() -> None:
        raise AssertionError

    manifest = Manifest.load(copy)
    assert [check_shard(copy, manifest, number, read) for number in range(len(manifest.shards))] == [[]] * 4
