import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.build.plan import Plan, ShardPlan, as_digests, into_shards
from shardtune.build.resume import (
    RECEIPTS_NAME,
    RECIPE_NAME,
    VERSION,
    WORK_NAME,
    WrittenShard,
    begin,
    finish_shard,
    finished_shard,
    has_receipt,
    is_current,
    only_times_differ,
    recipe,
)
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError
from shardtune.files import sha256_of
from shardtune.sealed import read_sealed, write_sealed
from tests.jsonvalues import json_values
from tests.listings import listing_of

SHARD = "train-00000-of-00002"
OPTIONS = {"seed": 0, "quality": 95}


def wanted(
    *,
    labels: tuple[str, ...] = ("a", "b"),
    paths: tuple[str, ...] = ("a/1", "a/2", "b/1"),
    skipped: tuple[str, ...] = (),
    size: int = 10,
    time: int = 0,
    **options: Any,
) -> dict[str, Any]:
    numbers = [labels.index(path[0]) + 1 for path in paths]
    listing = listing_of(paths, labels=numbers, sizes=[size] + [10] * (len(paths) - 1))
    listing.mtimes[:] = time
    left_out = listing_of(skipped, labels=[labels.index(path[0]) + 1 for path in skipped])
    without = {"train": (left_out, as_digests(b""))}
    plan = Plan(list(labels), {"train": Path("images")}, {"train": listing}, without, {}, into_shards("train", len(paths), 2))  # type: ignore[arg-type]
    return recipe(plan, {**OPTIONS, **options})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output directory as `hold` leaves it to a build."""
    directory = tmp_path / "data"
    (directory / WORK_NAME).mkdir(parents=True)
    return directory


def write_shard(output: Path, **values: Any) -> WrittenShard:
    """A shard and its receipt; its bytes matter to nobody here."""
    (output / SHARD).write_bytes(b"the bytes of a shard")
    shard = WrittenShard("train", SHARD, bytes=20, sha256=sha256_of(output / SHARD), offsets=[0], labels=[1], **values)
    finish_shard(output, shard)
    return shard


def planned(root: Path = Path("images")) -> ShardPlan:
    return ShardPlan("train", SHARD, root, listing_of([]), {})


def test_a_recipe_survives_json_and_does_not_depend_on_the_listing() -> None:
    value = wanted(paths=("a/1", "b/1", "a/2"))
    assert value == wanted(paths=("a/1", "a/2", "b/1")) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"quality": 90}, "quality was 95, is 90"),
        ({"seed": 1, "quality": 90}, "seed was 0, is 1; quality was 95, is 90"),
        ({"new": 1}, "new was None, is 1"),
        ({"size": 11}, "train images of a changed"),
        ({"paths": ("a/1", "a/3", "b/1")}, "train images of a changed"),
        ({"paths": ("a/1", "a/2", "b/1", "b/2")}, "train images of b changed"),
        ({"labels": ("a", "b", "c"), "paths": ("a/1", "a/2", "b/1", "c/1")}, "train images of c changed"),
        ({"labels": ("a",), "paths": ("a/1", "a/2")}, "train images of b changed"),
        ({"labels": ("b", "a")}, "the order of labels changed"),
        # A class of another name: the paths of its images have that name in them.
        ({"labels": ("a", "c"), "paths": ("a/1", "a/2", "c/1")}, "train images of b changed; train images of c changed"),
        (
            {f"option_{n}": n for n in range(5)},
            "option_0 was None, is 0; option_1 was None, is 1; option_2 was None, is 2; and 2 more",
        ),
    ],
)
def test_what_changed_is_told(output: Path, now: dict[str, Any], told: str) -> None:
    assert begin(output, wanted(), overwrite=False) is False
    write_shard(output)
    with pytest.raises(DataError, match=rf"{output} was begun with other input \({told}\): restore that"):
        begin(output, wanted(**now), overwrite=False)
    assert has_receipt(output, SHARD)


def test_another_build_is_no_obstacle_before_its_first_shard(output: Path) -> None:
    begin(output, wanted(seed=1), overwrite=False)
    (output / f".{SHARD}.tmp").write_bytes(b"half of a shard")
    assert begin(output, wanted(), overwrite=False) is False
    assert [path.name for path in output.iterdir()] == [WORK_NAME]
    assert read_sealed(output / WORK_NAME / RECIPE_NAME, VERSION) == wanted()


@pytest.mark.parametrize("name", [SHARD, "validation-00003-of-00024", MANIFEST_NAME])
def test_shards_that_nobody_remembers_are_not_removed_unasked(output: Path, name: str) -> None:
    (output / name).write_bytes(b"by the builder of 2016, perhaps")
    with pytest.raises(DataError, match=r"\(no record of it that this version reads is left\)"):
        begin(output, wanted(), overwrite=False)
    assert (output / name).exists()
    assert begin(output, wanted(), overwrite=True) is False
    assert not (output / name).exists()


def test_overwriting_removes_what_is_of_a_data_set_and_nothing_else(output: Path) -> None:
    begin(output, wanted(seed=1), overwrite=False)
    write_shard(output)
    mine = ["train.txt", "train-1-of-2", f"{SHARD}.bak", "notes"]
    for name in [*mine, MANIFEST_NAME, f".{SHARD}.tmp", "validation-00000-of-100000"]:
        (output / name).write_bytes(b"")
    assert begin(output, wanted(), overwrite=True) is False
    assert sorted(path.name for path in output.iterdir()) == sorted([*mine, WORK_NAME])
    assert not has_receipt(output, SHARD)


def test_a_build_that_overwrites_goes_on_too(output: Path) -> None:
    begin(output, wanted(), overwrite=True)
    shard = write_shard(output)
    assert begin(output, wanted(), overwrite=True) is False
    assert finished_shard(output, planned()) == shard
    (output / MANIFEST_NAME).write_bytes(b"")
    assert begin(output, wanted(), overwrite=False) is True
    assert begin(output, wanted(), overwrite=True) is False
    assert not (output / MANIFEST_NAME).exists()
    assert not (output / SHARD).exists()


def test_a_shard_is_finished_while_it_is_what_was_written(output: Path) -> None:
    begin(output, wanted(), overwrite=False)
    assert finished_shard(output, planned()) is None
    shard = write_shard(output, digests="00ff", reencoded={"png": 1}, rejects=[{"path": "a/1", "reason": "empty"}])
    assert finished_shard(output, planned()) == shard
    (output / SHARD).write_bytes(b"The bytes of a shard")
    assert finished_shard(output, planned()) is None
    (output / SHARD).unlink()
    assert finished_shard(output, planned()) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b'{"sha256": "', b"\xff", b"[" * 10_000])
def test_a_receipt_that_a_crash_of_the_machine_spoilt_is_none(output: Path, content: bytes) -> None:
    begin(output, wanted(), overwrite=False)
    write_shard(output)
    (output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json").write_bytes(content)
    assert finished_shard(output, planned()) is None


def test_a_receipt_of_another_version_or_shard_is_none(output: Path) -> None:
    begin(output, wanted(), overwrite=False)
    shard, path = asdict(write_shard(output)), output / WORK_NAME / RECEIPTS_NAME / f"{SHARD}.json"
    for receipt in ({**shard, "name": "train-00001-of-00002"}, {}):
        write_sealed(path, VERSION, receipt)
        assert finished_shard(output, planned()) is None
    for version in (1, VERSION + 1):
        write_sealed(path, version, {"other": "fields"})
        assert finished_shard(output, planned()) is None
    path.write_text(json.dumps(shard))  # as in version 1
    assert finished_shard(output, planned()) is None


@given(value=json_values(), name=st.sampled_from([RECIPE_NAME, f"{RECEIPTS_NAME}/{SHARD}.json"]))
def test_any_value_in_place_of_what_was_left_is_as_nothing_left(output: Path, value: Any, name: str) -> None:
    begin(output, wanted(), overwrite=True)
    write_shard(output)
    (output / WORK_NAME / name).write_text(json.dumps(value))
    if name == RECIPE_NAME:
        with pytest.raises(DataError, match=r"\(no record of it that this version reads is left\)"):
            begin(output, wanted(), overwrite=False)
    else:
        assert begin(output, wanted(), overwrite=False) is False
        assert finished_shard(output, planned()) is None


def test_a_build_that_version_1_began_is_gone_on_with(output: Path) -> None:
    old = wanted()
    del old["files"]
    (output / WORK_NAME / RECIPE_NAME).write_text(json.dumps(old))
    (output / SHARD).write_bytes(b"the bytes of a shard")
    with pytest.raises(DataError, match=r"\(seed was 0, is 1\)"):
        begin(output, wanted(seed=1), overwrite=False)
    (output / MANIFEST_NAME).write_bytes(b"")
    assert begin(output, wanted(), overwrite=False) is True
    assert not is_current(output)
    (output / MANIFEST_NAME).unlink()
    assert begin(output, wanted(), overwrite=False) is False
    assert is_current(output)


def test_other_times_are_told_from_other_files(output: Path) -> None:
    begin(output, wanted(), overwrite=False)
    assert not only_times_differ(output, wanted())
    assert only_times_differ(output, wanted(time=1))
    for other in ({"paths": ("a/1", "a/3", "b/1")}, {"size": 11}, {"seed": 1}, {"labels": ("b", "a")}):
        assert not only_times_differ(output, wanted(**other, time=1))  # type: ignore[arg-type]


def test_files_that_are_skipped_are_part_of_the_input(output: Path) -> None:
    begin(output, wanted(), overwrite=False)
    write_shard(output)
    with pytest.raises(DataError, match=r"\(train images of a changed\)"):
        begin(output, wanted(skipped=("a/4",)), overwrite=False)
    assert wanted(skipped=("a/4",)) != wanted(skipped=("a/5",)) != wanted(paths=("a/1", "a/2", "a/5", "b/1"))


def test_a_shard_is_written_again_when_what_could_not_be_read_can_be(output: Path, tmp_path: Path) -> None:
    begin(output, wanted(), overwrite=False)
    shard = write_shard(output, rejects=[{"path": "a/1.jpg", "reason": "unreadable"}])
    assert finished_shard(output, planned(tmp_path)) == shard
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"now it is there")
    assert finished_shard(output, planned(tmp_path)) is None
