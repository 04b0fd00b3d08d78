"""Digests of files, and the groups of files with identical bytes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from shardtune.builder.partition import Digests, group_by_digest


def digest(data: bytes | memoryview) -> bytes:
    """XXH3 of the bytes of a file, 128 bits: equal for identical files only, unless somebody constructs a collision."""
    return xxhash.xxh3_128_digest(data)


def placeholder_digest(path: Path) -> bytes:
    """Stands for the digest of a file that cannot be read. It differs from all others, and the build will reject the file."""
    return digest(b"unreadable\0" + os.fsencode(path))


def find_duplicate_groups(
    digests: Digests, describe: Callable[[int], dict[str, Any]]
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Groups of identical images: statistics for the manifest, and the files of each group.

    Args:
        digests: of all images, [n, 2].
        describe: returns "split", "path", "label" and whether it is "stored" of the image with a number.
    """
    groups = group_by_digest(digests)
    members: dict[int, list[dict[str, Any]]] = {}
    for index in np.flatnonzero(np.bincount(groups)[groups] > 1).tolist():
        members.setdefault(int(groups[index]), []).append(describe(index))
    duplicates = list(members.values())
    stats = {
        "groups": len(duplicates),
        "images": sum(len(files) for files in duplicates),
        "groups_across_splits": sum(len({file["split"] for file in files}) > 1 for files in duplicates),
        "groups_across_labels": sum(len({file["label"] for file in files}) > 1 for files in duplicates),
    }
    return stats, [{"identical": files} for files in duplicates]
