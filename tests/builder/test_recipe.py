import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from shardtune.builder.listing import FileTable
from shardtune.builder.partition import Digests, Plan, as_digests
from shardtune.builder.receipts import has_receipt, read_receipt
from shardtune.builder.recipe import RECIPE_NAME, begin, describe, is_current, only_times_differ, rejected_before, remember
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME, Split
from shardtune.errors import DataError
from shardtune.runtime.sealed import read_sealed
from tests.builder.leftovers import SHARD, output_directory, write_shard
from tests.jsonvalues import json_values
from tests.listings import listing_of

OPTIONS = {"seed": 0, "quality": 95}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return output_directory(tmp_path)


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
    return describe(plan, {**OPTIONS, **options}, rejected)


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
            {f"option_{n}": n for n in range(7)},
            "option_0 was None, is 0; option_1 was None, is 1; option_2 was None, is 2; and 4 more",
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
    assert read_sealed(output / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION) == wanted()


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
    assert read_receipt(output, SHARD) == shard
    (output / MANIFEST_NAME).write_bytes(b"")
    assert begin(output, wanted(), overwrite=False) is True
    assert begin(output, wanted(), overwrite=True) is False
    assert not (output / MANIFEST_NAME).exists()
    assert not (output / SHARD).exists()


@given(value=json_values())
def test_any_value_in_place_of_a_recipe_is_as_none(output: Path, value: Any) -> None:
    begin(output, wanted(), overwrite=True)
    write_shard(output)
    (output / WORK_NAME / RECIPE_NAME).write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"\(no record of it that this version reads is left\)"):
        begin(output, wanted(), overwrite=False)


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
    skipped: dict[Split, tuple[FileTable, Digests]] = {"train": (listing_of(["a/2"]), np.zeros((1, 2), np.uint64))}
    other = Plan(["a"], roots, {"train": listing_of(["a/1"]), "validation": listing_of(["a/3"])}, skipped, {}, [])
    assert describe(both, {}) == describe(other, {})
    less = Plan(["a"], roots, {"train": listing_of(["a/1"]), "validation": listing_of(["a/3"])}, {}, {}, [])
    assert describe(both, {}) != describe(less, {})
