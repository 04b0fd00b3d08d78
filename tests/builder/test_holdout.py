"""Which groups of images are held out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.holdout import group_names, number_groups, select_groups
from shardtune.builder.partition import group_by_digest, holdout_counts
from shardtune.errors import DataError
from tests.builder.builds import made, stored
from tests.listings import listing_of
from tests.pictures import plant

# Of each image: the number of its group, and its label.
IMAGES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=80)


def numbered(numbers: list[int]) -> Any:
    """Digests of names of groups that have these numbers."""
    return np.array([[number, number % 3] for number in numbers], np.uint64)


def selected(images: list[tuple[int, int]], fraction: float, seed: int = 0) -> tuple[Any, Any, Any, list[int]]:
    """Labels, groups, what is held out of images none of which are identical, and how many were to be of each class."""
    labels = np.array([label for _, label in images], np.int32)
    groups = number_groups(numbered([group for group, _ in images]), np.arange(len(images)), seed)
    counts = np.bincount(labels, minlength=5)[1:].tolist()
    quotas = holdout_counts(counts, max(1, round(fraction * len(images))))
    return labels, groups, select_groups(labels, groups, quotas), quotas


@given(IMAGES, st.floats(0.01, 0.9), st.integers(-(2**63), 2**63 - 1))
def test_a_group_is_on_one_side_and_each_class_keeps_an_image(
    images: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels, _, is_heldout, _ = selected(images, fraction, seed)
    sides: dict[int, set[bool]] = {}
    for (group, _), side in zip(images, is_heldout.tolist(), strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert set(labels[~is_heldout].tolist()) == set(labels.tolist())


@given(IMAGES, st.floats(0.01, 0.9))
def test_no_group_that_is_left_brings_the_number_nearer(images: list[tuple[int, int]], fraction: float) -> None:
    labels, groups, is_heldout, quotas = selected(images, fraction)
    distance = abs(sum(quotas) - is_heldout.sum())
    left = np.bincount(labels[~is_heldout], minlength=5)
    movable = []
    for group in set(groups[~is_heldout].tolist()):
        members = labels[groups == group]
        if np.all(np.bincount(members, minlength=5)[1:] < np.maximum(left[1:], 1)):
            movable.append(len(members))
            if is_heldout.any():
                assert abs(sum(quotas) - is_heldout.sum() - len(members)) >= distance
    assert is_heldout.any() or not movable


@given(IMAGES, st.floats(0.01, 0.9), st.integers(0, 99), st.randoms(use_true_random=False))
def test_what_is_held_out_depends_on_names_and_seed_alone(
    images: list[tuple[int, int]], fraction: float, seed: int, chance: Any
) -> None:
    order = list(range(len(images)))
    chance.shuffle(order)
    _, _, first, _ = selected(images, fraction, seed)
    _, _, second, _ = selected([images[index] for index in order], fraction, seed)
    assert second.tolist() == [first[index] for index in order]


def test_groups_of_one_class_are_held_out_in_proportion() -> None:
    images = [(10 * label + group, label) for label in (1, 2, 3) for group in range(10) for _ in range(4)]
    labels, _, is_heldout, _ = selected(images, 0.2)
    assert np.bincount(labels[is_heldout], minlength=4)[1:].tolist() == [8, 8, 8]


@pytest.mark.parametrize(("wanted", "held_out"), [(1, 4), (5, 4), (7, 8), (9, 8), (10, 8), (11, 12)])
def test_groups_that_no_class_has_room_for_are_held_out_for_the_sum(wanted: int, held_out: int) -> None:
    images = [(10 * label + group, label) for label in (1, 2, 3, 4) for group in range(5) for _ in range(4)]
    assert selected(images, wanted / 80)[2].sum() == held_out  # at most 3 of each class were to be


@pytest.mark.parametrize("seed", range(8))
def test_groups_above_the_quotas_change_the_proportions_least(seed: int) -> None:
    sizes = {**dict.fromkeys(range(9), (1, 50)), 9: (2, 40), 10: (2, 11)}
    images = [(group, label) for group, (label, size) in sizes.items() for _ in range(size)]
    labels, _, is_heldout, quotas = selected(images, 0.2, seed)
    assert quotas == [90, 10, 0, 0]
    assert np.bincount(labels[is_heldout], minlength=3)[1:].tolist() == [100, 11]


def test_the_seed_decides_which_groups_are_held_out() -> None:
    images = [(group, 1) for group in range(40)]
    assert len({tuple(np.flatnonzero(selected(images, 0.2, seed)[2])) for seed in range(8)}) == 8


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_groups_are_joined_by_identical_images(pairs: list[tuple[int, int]]) -> None:
    joined = number_groups(
        numbered([name for name, _ in pairs]), np.unique([image for _, image in pairs], return_inverse=True)[1], 0
    )
    parts: list[set[tuple[str, int]]] = []  # what hangs together, found in another way
    for name, image in pairs:
        new = {("name", name), ("image", image)}
        touching = [part for part in parts if part & new]
        parts = [part for part in parts if part not in touching] + [new.union(*touching)]
    of_pair = [next(number for number, part in enumerate(parts) if ("name", name) in part) for name, _ in pairs]
    assert len(set(zip(of_pair, joined.tolist(), strict=True))) == len(set(of_pair)) == len(set(joined.tolist()))


def test_a_group_is_what_the_first_parentheses_match() -> None:
    files = listing_of(["a/p1-x.jpg", "b/p2-x.jpg", "a/p1-y.jpg", "b/p2.jpg"])
    names = group_names(files, r"p(\d)(-.)?")
    assert names is not None
    numbers = group_by_digest(names).tolist()
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]
    with pytest.raises(DataError, match=r"finds no group in 2 of 4 paths \(as a/p1-x.jpg\)"):
        group_names(files, "p(2)")


def test_all_images_of_a_patient_are_held_out_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = plant(tmp_path / "images", per_class=40)
    made(images, tmp_path / "data", validation_fraction=0.2, test_fraction=0.1, group_by=r"-(\d)\d*\.jpg")
    by_split = {
        split: {each["image/path"].decode()[-6] for each in examples} for split, examples in stored(tmp_path / "data").items()
    }
    assert sorted("".join(map("".join, by_split.values()))) == ["0", "1", "2", "3"]  # each on one side: 30 images a patient
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Groups: 4, of 30 to 30 images; ")]
    assert line.endswith(
        "2 in train (50.0% of the images), 1 in validation (25.0% of the images), 1 in test (25.0% of the images)."
    )


def test_what_cannot_be_held_out_in_groups_is_an_error(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No group of images can be held out for validation"):
        made(images, tmp_path / "data", validation_fraction=0.2, group_by="/([a-z]+)-")


def test_a_group_in_two_given_splits_is_an_error(images: Path, tmp_path: Path) -> None:
    given = plant(tmp_path / "given", per_class=2, seed=5)
    with pytest.raises(DataError, match=r"One group has images in train \(.*\) and in validation \(.*\.jpg\)"):
        made(images, tmp_path / "data", validation_directory=given, group_by="([0-9]+)")
