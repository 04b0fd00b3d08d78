from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.listing import FileTable
from shardtune.builder.partition import (
    Plan,
    ShardRange,
    SplitPlan,
    group_by_digest,
    hash_shuffle,
    holdout_counts,
    holdout_order,
    is_first_occurrence,
    select_holdout,
    split_into_shards,
    to_digests,
)  # fmt: skip
from tests.listings import listing_of

COUNTS = st.integers(0, 300)


def paths(listing: FileTable) -> list[str]:
    return [listing.path(index) for index in range(len(listing))]


@given(st.integers(0, 200), st.integers(1, 40), st.integers(-(2**63), 2**63 - 1))
def test_shards_cover_all_in_order(images: int, count: int, seed: int) -> None:
    listing = hash_shuffle(listing_of([f"a/{number}.jpg" for number in range(images)]), seed)
    shards = split_into_shards("train", listing, np.arange(images), count, seed)
    assert [row for shard in shards for row in shard.rows] == list(range(images))
    assert [shard.name for shard in shards] == [f"train-{i:05d}-of-{count:05d}" for i in range(count)]


def test_shards_are_about_equal() -> None:
    listing = hash_shuffle(listing_of([f"a/{number}.jpg" for number in range(10_000)]), 0)
    sizes = [len(shard.rows) for shard in split_into_shards("train", listing, np.arange(10_000), 10, 0)]
    assert all(900 < size < 1100 for size in sizes)  # three standard deviations


@given(st.sets(st.integers(0, 99), max_size=30), st.integers(1, 20))
def test_an_image_stays_in_its_shard_when_others_go(gone: set[int], count: int) -> None:
    names = [f"a/{number}.jpg" for number in range(100)]
    shard_of: list[dict[str, str]] = []
    for kept in (names, [name for number, name in enumerate(names) if number not in gone]):
        listing = hash_shuffle(listing_of(kept), 3)
        shards = split_into_shards("train", listing, np.arange(len(kept)), count, 3)
        shard_of.append({listing.path(row): shard.name for shard in shards for row in shard.rows})
    assert shard_of[1].items() <= shard_of[0].items()
    assert len(shard_of[1]) == 100 - len(gone)


def test_a_plan_gives_each_shard_s_images_and_bytes() -> None:
    sources = listing_of([f"a/{number}.jpg" for number in range(5)], sizes=[1, 2, 3, 4, 5])
    shards = [
        ShardRange("train", "train-00000-of-00002", range(2)),
        ShardRange("train", "train-00001-of-00002", range(2, 4)),
    ]
    split = SplitPlan("train", Path("root"), sources, np.array([0, 2, 3, 4]), np.array([1]))
    plan = Plan(["a"], {"train": split}, {}, shards)
    assert plan.images == 4
    assert [plan.source_bytes(shard) for shard in shards] == [4, 9]
    shard = plan.shard_plan(shards[1])
    assert (shard.name, shard.root, paths(shard.sources)) == (
        "train-00001-of-00002",
        Path("root"),
        ["a/3.jpg", "a/4.jpg"],
    )


@given(COUNTS, st.integers(-(2**63), 2**63 - 1), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_listing(count: int, seed: int, chance: np.random.Generator) -> None:
    names = [f"a/{number:04d}.jpg" for number in range(count)]
    other = names.copy()
    chance.shuffle(other)
    assert paths(hash_shuffle(listing_of(names), seed)) == paths(hash_shuffle(listing_of(other), seed))


def test_the_order_is_a_shuffle_that_the_seed_decides() -> None:
    names = [f"a/{number:04d}.jpg" for number in range(200)]
    first, second = (paths(hash_shuffle(listing_of(names), seed)) for seed in (0, 1))
    assert first != names
    assert first != second
    assert set(first) == set(second) == set(names)


def test_images_are_held_out_from_all_over_the_order_of_the_shards() -> None:
    files = hash_shuffle(listing_of([f"a/{number}.jpg" for number in range(2000)]), 0)
    order = holdout_order(files, 0)
    assert sorted(order.tolist()) == list(range(2000))
    in_quarters = np.bincount(order[:400] // 500)
    assert (abs(in_quarters - 100) < 35).all()  # four standard deviations


def test_the_order_is_that_of_earlier_releases() -> None:
    # A change here would make a build that is resumed or repeated write other shards than before.
    names = [f"a/{number}.jpg" for number in range(6)]
    assert [[int(path[2]) for path in paths(hash_shuffle(listing_of(names), seed))] for seed in (0, -1)] == [
        [2, 4, 1, 3, 0, 5],
        [1, 4, 3, 2, 5, 0],
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_equal_digests_are_one_group(values: list[tuple[int, int]]) -> None:
    digests = to_digests(b"".join(bytes([high]) * 8 + bytes([low]) * 8 for high, low in values))
    groups = group_by_digest(digests)
    assert [[a == b for a in groups] for b in groups] == [[a == b for a in values] for b in values]
    assert np.flatnonzero(is_first_occurrence(groups)).tolist() == [
        i for i, value in enumerate(values) if value not in values[:i]
    ]


def test_digests_that_differ_in_one_half_are_not_equal() -> None:
    halves = [bytes(8) + bytes(8), bytes(8) + b"\1" * 8, b"\1" * 8 + bytes(8)]
    assert len(set(group_by_digest(to_digests(b"".join(halves))).tolist())) == 3


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.data())
def test_held_out_examples_are_shared_out_by_size(counts: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(counts) - len(counts)))
    held = holdout_counts(counts, total)
    for part, count in zip(held, counts, strict=True):
        assert 0 <= part <= count - 1
        assert part >= min(int(total * count / sum(counts)), count - 1)
    assert sum(held) == total
    if all(total * count / sum(counts) + 1 <= count - 1 for count in counts):
        assert all(part <= total * count / sum(counts) + 1 for part, count in zip(held, counts, strict=True))


def test_what_a_class_cannot_give_others_do() -> None:
    assert holdout_counts([1, 1, 1, 97], 50) == [0, 0, 0, 50]
    assert holdout_counts([2, 2, 16], 15) == [1, 1, 13]
    assert holdout_counts([3, 3], 100) == [2, 2]


def test_what_rounding_leaves_goes_where_the_remainder_is_largest() -> None:
    assert holdout_counts([7, 3], 4) == [3, 1]
    assert holdout_counts([3, 7], 4) == [1, 3]


LABELLED = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12)), min_size=1, max_size=60)


@given(LABELLED, st.floats(0.01, 0.99))
def test_identical_images_are_held_out_together_or_not_at_all(images: list[tuple[int, int]], fraction: float) -> None:
    labels = np.array([label for label, _ in images], np.int32)
    groups: npt.NDArray[np.int64] = np.unique([content for _, content in images], return_inverse=True)[1]
    counts = np.bincount(labels, minlength=5)[1:].tolist()
    wanted = [min(round(fraction * count), max(0, count - 1)) for count in counts]
    held = select_holdout(labels, groups, wanted)
    for content in set(groups.tolist()):
        members = groups == content
        assert len(set(held[members])) == 1
        if len(set(labels[members])) > 1:
            assert not held[members].any()
    for label, (count, most) in enumerate(zip(counts, wanted, strict=True), start=1):
        here = held[labels == label].sum()
        assert here <= most
        assert count == 0 or here < count


@given(st.integers(2, 50), st.integers(0, 49))
def test_of_distinct_images_the_first_are_held_out(count: int, wanted: int) -> None:
    held = select_holdout(np.ones(count, np.int32), np.arange(count), [min(wanted, count - 1)])
    assert np.flatnonzero(held).tolist() == list(range(min(wanted, count - 1)))
