"""Listings of files that need not exist."""

from collections.abc import Sequence

import numpy as np

from shardtune.builder.listing import FileTable


def listing_of(paths: Sequence[str], *, labels: Sequence[int] | None = None, sizes: Sequence[int] | None = None) -> FileTable:
    """Files of these paths: by default of label 1, 10 bytes, and time 0."""
    names = [path.encode() for path in paths]
    return FileTable(
        b"".join(names),
        np.cumsum([len(name) for name in names], dtype=np.int64),
        np.array(labels if labels is not None else [1] * len(names), np.int32),
        np.array(sizes if sizes is not None else [10] * len(names), np.int64),
        np.zeros(len(names), np.int64),
    )
