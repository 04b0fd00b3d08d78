import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from shardtune.builder.listing import FileTable
from shardtune.builder.partition import Plan, SplitPlan
from shardtune.builder.receipts import has_receipt, load_receipt
from shardtune.builder.recipe import (
    RECIPE_NAME,
    has_only_other_times,
    load_rejected_keys,
    make_recipe,
    prepare_output,
    save_recipe,
)
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME
from shardtune.errors import DataError
from shardtune.runtime.sealed import read_sealed, write_sealed
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
    every = (*paths, *skipped)
    files = listing_of(every, labels=[labels.index(path[0]) + 1 for path in every], sizes=[size] + [10] * (len(every) - 1))
    files.mtimes[:] = time
    plan = Plan(list(labels), {"train": split_plan(files, range(len(paths)), range(len(paths), len(every)))}, {}, [])
    return make_recipe(plan, {**OPTIONS, **options}, rejected)


def split_plan(files: FileTable, stored: Iterable[int], skipped: Iterable[int] = ()) -> SplitPlan:
    rows, skipped_rows = np.array([*stored], np.int64), np.array([*skipped], np.int64)
    return SplitPlan("train", Path("images"), files, rows, skipped_rows, np.zeros((len(skipped_rows), 2), np.uint64))


def test_a_recipe_survives_json_and_does_not_depend_on_the_listing() -> None:
    value = wanted(paths=("a/1", "b/1", "a/2"))
    assert value == wanted(paths=("a/1", "a/2", "b/1")) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("now", "changes"),
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
def test_what_changed_is_reported(output: Path, now: dict[str, Any], changes: str) -> None:
    assert prepare_output(output, wanted(), overwrite=False) is False
    write_shard(output)
    with pytest.raises(DataError, match=rf"^{output} holds a build of other input \({changes}\)\. Restore that"):
        prepare_output(output, wanted(**now), overwrite=False)
    assert has_receipt(output, SHARD)


def test_another_build_is_no_obstacle_before_its_first_shard(output: Path) -> None:
    prepare_output(output, wanted(seed=1), overwrite=False)
    assert prepare_output(output, wanted(), overwrite=False) is False
    assert [path.name for path in output.iterdir()] == [WORK_NAME]
    assert read_sealed(output / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION) == wanted()


@pytest.mark.parametrize(
    ("name", "kind"), [(SHARD, "shards"), ("validation-00003-of-00024", "shards"), (MANIFEST_NAME, "a data set")]
)
def test_what_has_no_recipe_is_removed_only_with_overwrite(output: Path, name: str, kind: str) -> None:
    (output / name).write_bytes(b"by the builder of 2016, perhaps")
    with pytest.raises(DataError, match=rf"^{output} holds {kind} without a record of .* pass --overwrite"):
        prepare_output(output, wanted(), overwrite=False)
    assert (output / name).exists()
    assert prepare_output(output, wanted(), overwrite=True) is False
    assert not (output / name).exists()


def test_overwriting_removes_what_is_of_a_data_set_and_nothing_else(output: Path) -> None:
    prepare_output(output, wanted(seed=1), overwrite=False)
    write_shard(output)
    mine = ["train.txt", "train-1-of-2", f"{SHARD}.bak", "notes"]
    for name in [*mine, MANIFEST_NAME, "validation-00000-of-100000"]:
        (output / name).write_bytes(b"")
    assert prepare_output(output, wanted(), overwrite=True) is False
    assert sorted(path.name for path in output.iterdir()) == sorted([*mine, WORK_NAME])
    assert not has_receipt(output, SHARD)


def test_a_build_that_overwrites_is_resumed_too(output: Path) -> None:
    prepare_output(output, wanted(), overwrite=True)
    shard = write_shard(output)
    assert prepare_output(output, wanted(), overwrite=True) is False
    assert load_receipt(output, SHARD) == shard
    (output / MANIFEST_NAME).write_bytes(b"")
    assert prepare_output(output, wanted(), overwrite=False) is True
    assert prepare_output(output, wanted(), overwrite=True) is False
    assert not (output / MANIFEST_NAME).exists()
    assert not (output / SHARD).exists()


@given(value=json_values())
def test_any_other_value_counts_as_no_recipe(output: Path, value: Any) -> None:
    prepare_output(output, wanted(), overwrite=True)
    write_shard(output)
    (output / WORK_NAME / RECIPE_NAME).write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"holds shards without a record of"):
        prepare_output(output, wanted(), overwrite=False)
    assert not has_only_other_times(output, wanted(time=1))


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION + 1])
def test_a_finished_data_set_of_another_version_is_removed_only_with_overwrite(output: Path, version: int) -> None:
    write_sealed(output / WORK_NAME / RECIPE_NAME, version, wanted())
    for name in (SHARD, MANIFEST_NAME):
        (output / name).write_bytes(b"of another version")
    with pytest.raises(DataError, match=rf"^{output} holds a data set without a record of .* pass --overwrite"):
        prepare_output(output, wanted(), overwrite=False)
    assert (output / SHARD).read_bytes() == (output / MANIFEST_NAME).read_bytes() == b"of another version"
    assert prepare_output(output, wanted(), overwrite=True) is False
    assert [path.name for path in output.iterdir()] == [WORK_NAME]


def test_other_times_are_distinguished_from_other_files(output: Path) -> None:
    prepare_output(output, wanted(), overwrite=False)
    assert not has_only_other_times(output, wanted())
    assert has_only_other_times(output, wanted(time=1))
    for other in ({"paths": ("a/1", "a/3", "b/1")}, {"size": 11}, {"seed": 1}, {"labels": ("b", "a")}):
        assert not has_only_other_times(output, wanted(**other, time=1))  # type: ignore[arg-type]


def test_files_that_are_skipped_are_part_of_the_input(output: Path) -> None:
    prepare_output(output, wanted(), overwrite=False)
    write_shard(output)
    with pytest.raises(DataError, match=r"\(train images of a changed\)"):
        prepare_output(output, wanted(skipped=("a/4",)), overwrite=False)
    assert wanted(skipped=("a/4",)) != wanted(skipped=("a/5",))


def noted(output: Path, *keys: str) -> None:
    """As a build that has rejected these leaves it."""
    prepare_output(output, wanted(), overwrite=False)
    save_recipe(output, wanted(rejected=keys))


def again(output: Path, **values: Any) -> bool:
    return prepare_output(output, wanted(rejected=tuple(load_rejected_keys(output)), **values), overwrite=False)


@pytest.mark.parametrize("now", [{}, {"size": 11}, {"paths": ("a/2", "b/1")}])
def test_rejected_images_may_be_repaired_or_removed(output: Path, now: dict[str, Any]) -> None:
    noted(output, "train/a/1")
    write_shard(output)
    assert again(output, **now) is False
    assert has_receipt(output, SHARD)
    assert again(output, **now) is False
    for other in ({"size": 12}, {"paths": ("a/2",)}, {"paths": ("a/1", "a/2")}, {"paths": ("a/1", "a/2", "b/1", "b/2")}):
        if now or "b/1" not in other.get("paths", "b/1") or "b/2" in other.get("paths", ""):
            with pytest.raises(DataError, match="a build of other input"):
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
    files = listing_of(["a/1", "a/2", "a/3"])
    both = Plan(["a"], {"train": split_plan(files, [0, 1]), "validation": split_plan(files, [2])}, {}, [])
    other = Plan(["a"], {"train": split_plan(files, [0], [1]), "validation": split_plan(files, [2])}, {}, [])
    assert make_recipe(both, {}) == make_recipe(other, {})
    less = Plan(["a"], {"train": split_plan(listing_of(["a/1", "a/3"]), [0, 1])}, {}, [])
    assert make_recipe(both, {}) != make_recipe(less, {})
