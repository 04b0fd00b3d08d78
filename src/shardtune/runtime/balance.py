"""Distribute work over ranks."""

import heapq
from collections.abc import Sequence


def balance(weights: Sequence[int], ranks: int) -> list[list[int]]:
    """Assign items to ranks so that the sums of their weights are nearly equal.

    The heaviest item comes first, and each goes to the rank with the smallest sum so far.

    Returns:
        for each rank, the indices of its items, ascending.
    """
    loads = [(0, rank) for rank in range(ranks)]
    assigned: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        load, rank = heapq.heappop(loads)
        assigned[rank].append(index)
        heapq.heappush(loads, (load + weights[index], rank))
    return [sorted(indices) for indices in assigned]
