"""Distribute work over ranks."""

import heapq
from collections.abc import Sequence


def balance(weights: Sequence[int], ranks: int, preferred: Sequence[int | None] = ()) -> list[list[int]]:
    """Assign items to ranks so that the sums of their weights are nearly equal.

    The heaviest item comes first, and each goes to the rank with the smallest sum so far. Before that, ranks get the items for
    which they are preferred, as long as they have less than their share.

    Args:
        preferred: the rank of each item for which another costs more; None if none does.

    Returns:
        for each rank, the indices of its items, ascending.
    """
    share, sums = sum(weights) / ranks, [0] * ranks
    assigned: list[list[int]] = [[] for _ in range(ranks)]
    heaviest_first, left = sorted(range(len(weights)), key=lambda i: (-weights[i], i)), []
    for index in heaviest_first:
        rank = preferred[index] if preferred else None
        if rank is not None and sums[rank] + weights[index] <= share:
            assigned[rank].append(index)
            sums[rank] += weights[index]
        else:
            left.append(index)
    loads = [(load, rank) for rank, load in enumerate(sums)]
    heapq.heapify(loads)
    for index in left:
        load, rank = heapq.heappop(loads)
        assigned[rank].append(index)
        heapq.heappush(loads, (load + weights[index], rank))
    return [sorted(indices) for indices in assigned]
