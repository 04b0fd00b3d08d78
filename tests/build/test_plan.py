import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.build.plan import Source, assign, hold_out, into_shards, scan, shuffled
from shardtune.errors import DataError

COUNTS = st.integers(0, 300)
SOURCES = st.lists(st.integers(1, 4), max_size=60).map(
    lambda labels: [Source(f"{label}/{number}.jpg", label, 10) for number, label in enumerate(labels)]
)


def sources_of(count: int) -> list[Source]:
    return [Source(f"a/{number:04d}.jpg", 1, 10) for number in range(count)]


@given(COUNTS, st.integers(1, 40))
def test_shards_cover_all_in_order_and_evenly(count: int, shards: int) -> None:
    sources = sources_of(count)
    plans = into_shards(sources, "train", Path("root"), shards)
    assert [source for plan in plans for source in plan.sources] == sources
    sizes = [len(plan.sources) for plan in plans]
    assert max(sizes) - min(sizes) <= 1
    assert [plan.name for plan in plans] == [f"train-{i:05d}-of-{shards:05d}" for i in range(shards)]


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 12))
def test_assign_deals_every_shard_once_and_evenly(weights: list[int], ranks: int) -> None:
    shares = assign(weights, ranks)
    assert len(shares) == ranks
    assert all(share == sorted(share) for share in shares)
    assert sorted(index for share in shares for index in share) == list(range(len(weights)))
    loads = [sum(weights[index] for index in share) for share in shares]
    assert max(loads) <= sum(weights) / ranks + max(weights, default=0)


def test_assign_gives_each_rank_a_shard_where_there_are_enough() -> None:
    assert assign([5] * 6, 3) == [[0, 3], [1, 4], [2, 5]]
    assert assign([1, 1, 9], 2) == [[2], [0, 1]]
    assert assign([3], 3) == [[0], [], []]


@given(COUNTS, st.integers(-(2**63), 2**63 - 1), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_listing(count: int, seed: int, chance: random.Random) -> None:
    sources = sources_of(count)
    listing = sources.copy()
    chance.shuffle(listing)
    assert shuffled(listing, seed) == shuffled(sources, seed)


def test_the_order_is_a_shuffle_that_the_seed_decides() -> None:
    sources = sources_of(200)
    first, second = shuffled(sources, 0), shuffled(sources, 1)
    assert first != sources
    assert first != second
    assert set(first) == set(second) == set(sources)
    # Whether two images come in this order or that depends on them alone, not on what else is there.
    assert shuffled(sources[::2], 0) == [source for source in first if source in set(sources[::2])]


@given(SOURCES, st.floats(0, 1, exclude_max=True))
def test_hold_out_splits_every_class(sources: list[Source], fraction: float) -> None:
    train, validation = hold_out(sources, fraction)
    chosen = set(validation)
    assert train == [source for source in sources if source not in chosen]
    assert validation == [source for source in sources if source in chosen]
    for label in {source.label for source in sources}:
        total, held = (sum(source.label == label for source in part) for part in (sources, validation))
        if total == 1 or fraction == 0:
            assert held == 0
        else:
            assert 1 <= held <= total - 1
            assert held in (1, total - 1) or abs(held - fraction * total) <= 0.5


def test_a_larger_fraction_holds_out_more_of_the_same() -> None:
    sources = sources_of(40)
    assert hold_out(sources, 0.25)[1] == hold_out(sources, 0.5)[1][:10]


def test_scan_finds_what_lies_in_class_folders_and_below(tmp_path: Path) -> None:
    for path in ("b/2.jpg", "b/deep/er/1.jpg", "a/1.jpg", "a/.hidden.jpg", "a/.git/x.jpg", "unlisted/1.jpg", "loose.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    found = scan(tmp_path, ["b", "a"])
    assert set(found) == {Source("b/2.jpg", 1, 7), Source("b/deep/er/1.jpg", 1, 15), Source("a/1.jpg", 2, 7)}
    assert len(found) == 3


def test_a_class_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".hidden.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=f"{tmp_path / 'a'} is empty"):
        scan(tmp_path, ["a"])
