"""Work shared out among ranks."""

import heapq
from collections.abc import Sequence


def balance(weights: Sequence[int], ranks: int) -> list[list[int]]:
    """Deal items of these weights to ranks: heaviest first, each to the rank with the least so far.

    Returns the indices of each rank's items, ascending.
    """
    loads = [(0, rank) for rank in range(ranks)]
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        load, rank = heapq.heappop(loads)
        dealt[rank].append(index)
        heapq.heappush(loads, (load + weights[index], rank))
    return [sorted(share) for share in dealt]
