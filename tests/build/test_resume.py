import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.build.duplicates import digest
from shardtune.build.listing import Listing
from shardtune.build.plan import DIGEST_BYTES, Digests, Plan, ShardPlan, as_digests
from shardtune.build.resume import (
    RECEIPTS_NAME,
    RECIPE_NAME,
    VERSION,
    WORK_NAME,
    Reject,
    WrittenShard,
    begin,
    digest_of_names,
    finish_shard,
    finished_shard,
    has_receipt,
    is_current,
    only_times_differ,
    recipe,
    rejected_before,
    remember,
)
from shardtune.dataset.manifest import MANIFEST_NAME, Split
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
    rejected: tuple[str, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    numbers = [labels.index(path[0]) + 1 for path in paths]
    listing = listing_of(paths, labels=numbers, sizes=[size] + [10] * (len(paths) - 1))
    listing.mtimes[:] = time
    left_out = listing_of(skipped, labels=[labels.index(path[0]) + 1 for path in skipped])
    without = {"train": (left_out, as_digests(b""))}
    plan = Plan(list(labels), {"train": Path("images")}, {"train": listing}, without, {}, [])  # type: ignore[arg-type]
    return recipe(plan, {**OPTIONS, **options}, rejected)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output directory as `hold` leaves it to a build."""
    directory = tmp_path / "data"
    (directory / WORK_NAME).mkdir(parents=True)
    return directory


def reject(path: str) -> Reject:
    return {"path": path, "reason": "unreadable", "detail": "no longer there"}


def write_shard(output: Path, *stored: str, rejects: Mapping[str, bytes] = {}, **values: Any) -> WrittenShard:
    """A shard and its receipt; its bytes matter to nobody here.

    Args:
        stored: paths of the images in it.
        rejects: digests of those that were left out, by path, which come before the stored ones.
    """
    (output / SHARD).write_bytes(b"the bytes of a shard")
    shard = WrittenShard(
        "train", SHARD, bytes=20, sha256=sha256_of(output / SHARD), offsets=[0], labels=[1],
        digests=b"".join([*rejects.values(), *(digest(path.encode()) for path in stored)]).hex(),
        rejects=[reject(path) for path in rejects],
        rejected_at=list(range(len(rejects))),
        stored=digest_of_names([path.encode() for path in stored]),
        **values,
    )  # fmt: skip
    finish_shard(output, shard)
    return shard


def planned(*paths: str, root: Path = Path("images")) -> ShardPlan:
    return ShardPlan("train", SHARD, root, listing_of(paths), {})


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
    for name in [*mine, MANIFEST_NAME, "validation-00000-of-100000"]:
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
    shard = write_shard(output, "a/1", reencoded={"png": 1})
    assert finished_shard(output, planned("a/1")) == shard
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


def test_a_recipe_of_version_1_counted_what_was_held_out_apart(output: Path) -> None:
    old = wanted(paths=("a/1", "b/1"))
    old["sources"]["validation images of a"] = wanted(paths=("a/2",))["sources"]["train images of a"]
    del old["files"], old["rejected"]
    (output / WORK_NAME / RECIPE_NAME).write_text(json.dumps(old))
    (output / SHARD).write_bytes(b"the bytes of a shard")
    assert begin(output, wanted(ignore=[]), overwrite=False) is False


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
    assert wanted(skipped=("a/4",)) != wanted(skipped=("a/5",))


@pytest.mark.parametrize("paths", [(), ("a/1",), ("a/1", "a/3"), ("a/1", "a/2", "a/3"), ("a/2", "a/1")])
def test_a_shard_of_other_images_is_not_finished(output: Path, paths: tuple[str, ...]) -> None:
    begin(output, wanted(), overwrite=False)
    write_shard(output, "a/1", "a/2")
    assert finished_shard(output, planned(*paths)) is None


def test_a_shard_is_written_again_when_what_could_not_be_read_can_be(output: Path, tmp_path: Path) -> None:
    begin(output, wanted(), overwrite=False)
    shard = write_shard(output, "a/2", rejects={"a/1": bytes(DIGEST_BYTES)})
    assert finished_shard(output, planned("a/1", "a/2", root=tmp_path)) == shard
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"now it is there")
    assert finished_shard(output, planned("a/1", "a/2", root=tmp_path)) is None


def test_a_shard_whose_rejected_images_are_gone_is_finished_without_them(output: Path, tmp_path: Path) -> None:
    begin(output, wanted(), overwrite=False)
    (tmp_path / "a").mkdir()
    bad = {f"a/{number}": bytes((number,)) for number in range(3)}
    for path, content in bad.items():
        (tmp_path / path).write_bytes(content)
    shard = write_shard(output, "a/8", "a/9", rejects={path: digest(content) for path, content in bad.items()})
    assert finished_shard(output, planned(*bad, "a/8", "a/9", root=tmp_path)) == shard
    left = finished_shard(output, planned("a/1", "a/8", "a/9", root=tmp_path))
    digests = [digest(content).hex() for content in (bad["a/1"], b"a/8", b"a/9")]
    assert left == replace(shard, rejects=[reject("a/1")], rejected_at=[0], digests="".join(digests))
    (tmp_path / "a" / "1").write_bytes(b"mended")
    assert finished_shard(output, planned("a/1", "a/8", "a/9", root=tmp_path)) is None


def noted(output: Path, *keys: str) -> None:
    """As a build that has rejected these leaves it."""
    begin(output, wanted(), overwrite=False)
    remember(output, wanted(rejected=keys))


def again(output: Path, **values: Any) -> bool:
    return begin(output, wanted(rejected=tuple(rejected_before(output)), **values), overwrite=False)


@pytest.mark.parametrize("now", [{}, {"size": 11}, {"paths": ("a/2", "b/1")}])
def test_what_was_rejected_may_be_mended_or_removed(output: Path, now: dict[str, Any]) -> None:
    noted(output, "train/a/1")
    write_shard(output)
    assert again(output, **now) is False
    assert has_receipt(output, SHARD)
    assert again(output, **now) is False
    for other in ({"size": 12}, {"paths": ("a/2",)}, {"paths": ("a/1", "a/2")}, {"paths": ("a/1", "a/2", "b/1", "b/2")}):
        if now or "b/1" not in other.get("paths", "b/1") or "b/2" in other.get("paths", ""):
            with pytest.raises(DataError, match="begun with other input"):
                again(output, **other)


def test_a_finished_data_set_is_the_same_without_what_it_rejected_and_another_with_it(output: Path) -> None:
    noted(output, "train/a/1")
    write_shard(output)
    (output / MANIFEST_NAME).write_bytes(b"")
    assert again(output) is True
    assert again(output, paths=("a/2", "b/1")) is True
    with pytest.raises(DataError, match="train images of a changed"):
        again(output, size=11)
    with pytest.raises(DataError, match="train images of a changed"):
        again(output, paths=("a/1", "b/1"))


def test_what_is_held_out_or_skipped_does_not_change_a_recipe() -> None:
    roots: dict[Split, Path] = {"train": Path("images"), "validation": Path("images")}
    both = Plan(["a"], roots, {"train": listing_of(["a/1", "a/2"]), "validation": listing_of(["a/3"])}, {}, {}, [])
    skipped: dict[Split, tuple[Listing, Digests]] = {"train": (listing_of(["a/2"]), np.zeros((1, 2), np.uint64))}
    other = Plan(["a"], roots, {"train": listing_of(["a/1"]), "validation": listing_of(["a/3"])}, skipped, {}, [])
    assert recipe(both, {}) == recipe(other, {})
    less = Plan(["a"], roots, {"train": listing_of(["a/1"]), "validation": listing_of(["a/3"])}, {}, {}, [])
    assert recipe(both, {}) != recipe(less, {})
