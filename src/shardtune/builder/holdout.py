"""Choose the images that are held out for validation and for the test split: pure functions of the files and the options."""

import hashlib
import re
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt
import xxhash

from shardtune.builder import partition
from shardtune.builder.config import BuildConfig
from shardtune.builder.labels import class_name
from shardtune.builder.listing import FileTable, printable_path
from shardtune.builder.partition import Digests, Indices, SplitPlan, to_digests
from shardtune.dataset.splits import Split
from shardtune.errors import DataError

Mask = npt.NDArray[np.bool_]


def hold_out(
    config: BuildConfig,
    files: FileTable,
    digests: Digests,
    names: Digests | None,
    classes: int,
    given: Sequence[Digests] = (),
) -> dict[Split, Mask]:
    """Which of the training images are held out for each split that gets any, [n].

    Those for validation are chosen first, so that they are the same with and without a test split.

    Args:
        digests: of the content of the files; identical ones stay together.
        names: digests of the names of their groups, which stay together too; see `group_names`.
        given: digests of the images of splits that are given. What is identical to one of these is not held out for another.

    Raises:
        DataError: there are too few images to hold out so many, or no group is small enough.
    """
    total = len(files)
    wanted: dict[Split, int] = {
        "validation": config.validation_examples or _share(config.validation_fraction, total),
        "test": _share(config.test_fraction, total),
    }
    order = partition.holdout_order(files, config.seed)
    identical = partition.group_by_digest(np.concatenate([digests, *given]) if given else digests)
    is_free, identical = ~np.isin(identical[:total], identical[total:]), identical[:total]
    groups = None if names is None else number_groups(names, identical, config.seed)
    if groups is not None:
        is_free = ~np.isin(groups, groups[~is_free])
    result = dict[Split, Mask]()
    for split, number in wanted.items():
        if number:
            rows = order[is_free[order]]
            counts = np.bincount(files.labels[rows], minlength=classes + 1)[1:].tolist()
            if split == "validation" and config.validation_examples:
                _check_enough(config, len(rows), classes)
            quotas = partition.holdout_counts(counts, number)
            is_chosen = np.zeros(total, bool)
            if groups is None:
                is_chosen[rows] = partition.select_holdout(files.labels[rows], identical[rows], quotas)
            else:
                is_chosen[rows] = select_groups(files.labels[rows], groups[rows], quotas)
                if not is_chosen.any():
                    raise DataError(
                        f"No group of images can be held out for {split}: each has all images of a class.",
                        "Give smaller groups, or more images.",
                    )
            is_free &= ~is_chosen
            result[split] = is_chosen
    return result


def _share(fraction: float, total: int) -> int:
    return max(1, round(fraction * total)) if fraction else 0


def _check_enough(config: BuildConfig, total: int, classes: int) -> None:
    limit = total - classes
    if config.validation_examples > limit:
        raise DataError(
            f"--validation_examples {config.validation_examples} is too many for the {total} images in {classes} classes "
            f"of {config.train_directory or config.list}: one image of each class must be left for training.",
            f"Give at most --validation_examples {limit}.",
        )


def group_names(files: FileTable, pattern: str | None) -> Digests | None:
    """Digests of the names of the groups of files, uint64 [files, 2]; None if they are in no groups.

    Args:
        pattern: its first parentheses match the name in the path of a file; None: the list has named them, or nobody.

    Raises:
        DataError: a path does not match.
    """
    if pattern is None:
        return files.groups
    regex, digests, others = re.compile(pattern), bytearray(), list[str]()
    for index in range(len(files)):
        path = files.path(index)
        match = regex.search(path)
        if match and match[1]:
            digests += xxhash.xxh3_128_digest(class_name(match[1]).encode("utf-8", "surrogateescape"))
        else:
            others.append(path)
    if others:
        raise DataError(
            f"--group_by {pattern} finds no group in {len(others)} of {len(files)} paths (as {printable_path(min(others))}).",
            "Give an expression that matches all of them; it is searched for in the path below the directory.",
        )
    return to_digests(bytes(digests))


def number_groups(names: Digests, identical: Indices, seed: int) -> Indices:
    """A number for each file, [n]: that of the files that have to stay together, in the order in which they are held out.

    Files stay together if they have the same group or are identical, or if others link them. The order is that of BLAKE2b of
    (seed, name of the group), and depends on nothing else.

    Args:
        names: digests of the names of the groups.
        identical: see `partition.group_by_digest`.
    """
    named = partition.group_by_digest(names)
    firsts = np.unique(named, return_index=True)[1]
    key = seed.to_bytes(8, "little", signed=True)
    ranks = [hashlib.blake2b(names[row].astype(">u8").tobytes(), digest_size=16, key=key).digest() for row in firsts.tolist()]
    in_order = np.empty(len(firsts), np.int64)
    in_order[sorted(range(len(firsts)), key=ranks.__getitem__)] = np.arange(len(firsts))
    lowest = list(range(len(firsts)))  # of each group, one before it that it is joined with, or itself

    def first_joined(group: int) -> int:
        while lowest[group] != group:
            lowest[group] = group = lowest[lowest[group]]
        return group

    numbers, linked = in_order[named], dict[int, int]()
    for row in np.flatnonzero(np.bincount(identical)[identical] > 1).tolist():
        one = first_joined(int(numbers[row]))
        other = first_joined(linked.setdefault(int(identical[row]), one))
        lowest[max(one, other)] = min(one, other)
    return np.array([first_joined(group) for group in range(len(firsts))], np.int64)[numbers]


def select_groups(labels: npt.NDArray[np.int32], groups: Indices, quotas: Sequence[int]) -> Mask:
    """Which of these images are held out, [n]: whole groups, about as many images as the quotas have in all.

    First come the groups that fit into the quotas of their classes. Then come those that fit into what is then missing in all,
    always the one with the fewest images above the quotas, and last the smallest one, if the number is nearer with it or is 0.
    An image of each class is left.

    Args:
        labels: class numbers from 1, [n].
        groups: numbers in the order in which groups are held out, [n].
        quotas: images to hold out of each class.
    """
    pairs, counts = np.unique(groups * (len(quotas) + 1) + labels, return_counts=True)
    members: dict[int, list[tuple[int, int]]] = {}  # label and count, by group in order
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        group, label = divmod(pair, len(quotas) + 1)
        members.setdefault(group, []).append((label, count))
    sizes = {group: sum(count for _, count in classes) for group, classes in members.items()}
    left, quota = np.bincount(labels, minlength=len(quotas) + 1), [0, *quotas]
    missing, chosen = sum(quotas), set[int]()

    def may_go(group: int) -> bool:
        return group not in chosen and all(count < left[label] for label, count in members[group])

    def choose(group: int) -> None:
        nonlocal missing
        chosen.add(group)
        missing -= sizes[group]
        for label, count in members[group]:
            left[label] -= count
            quota[label] -= count

    def excess(group: int) -> int:
        return sum(max(0, count - max(0, quota[label])) for label, count in members[group])

    for group, classes in members.items():
        if all(count <= quota[label] for label, count in classes) and may_go(group):
            choose(group)
    others = [(excess(group), group) for group in members if may_go(group)]
    heapify(others)
    while others:
        before, group = heappop(others)
        if sizes[group] > missing or not may_go(group):  # and never again, because what is missing or left only gets less
            continue
        if (now := excess(group)) > before:
            heappush(others, (now, group))
        else:
            choose(group)
    smallest = min(filter(may_go, members), key=sizes.__getitem__, default=None)
    if smallest is not None and (sizes[smallest] < 2 * missing or not chosen):
        choose(smallest)
    return np.isin(groups, list(chosen))


def check_groups(splits: dict[Split, SplitPlan], names: dict[Split, Digests | None]) -> str:
    """A sentence about the groups of images; empty if there are none.

    Args:
        names: digests of the names of the groups of the files of each directory.

    Raises:
        DataError: a group has images in several splits, as given ones may.
    """
    digests = [of_source[plan.stored] for plan in splits.values() if (of_source := names[plan.source]) is not None]
    if not digests:
        return ""
    groups = partition.group_by_digest(np.concatenate(digests))
    sides = np.repeat(np.arange(len(digests)), list(map(len, digests)))  # the split of each image, by number
    firsts = np.unique(groups, return_index=True)[1]
    strays = np.flatnonzero(sides != sides[firsts][groups])
    if len(strays):
        files = [(s, plan.files.path(row)) for s, plan in splits.items() for row in plan.stored.tolist()]
        (first, path), (second, other) = files[firsts[groups[strays[0]]]], files[strays[0]]
        raise DataError(
            f"One group has images in {first} ({printable_path(path)}) and in {second} ({printable_path(other)}).",
            "Move them into one split, or name the groups differently.",
        )
    sizes, by_split = np.bincount(groups), np.bincount(sides[firsts], minlength=len(splits)).tolist()
    shares = [len(each) / len(groups) for each in digests]
    counts = ", ".join(f"{n} in {s} ({share:.1%} of the images)" for s, n, share in zip(splits, by_split, shares, strict=True))
    return f"Groups: {len(sizes)}, of {sizes.min()} to {sizes.max()} images; {counts}."
