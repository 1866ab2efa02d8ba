"""Which mention of one recipe stands at the place of which mention of another.

Pure sequences: no derivations, no platforms.  Keys say what may correspond; order decides which of
several equal keys do.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Final

MAX_CELLS: Final = 4_000_000
"""Size of the comparison tables of two recipes (about half a second of work).  Longer middle parts,
which no real variable has once equal ends are cut off, are compared by unique keys only."""


def align(
    left: Sequence[Hashable], right: Sequence[Hashable], cells: int = MAX_CELLS
) -> tuple[list[tuple[int, int]], int]:
    """Index pairs of a longest common subsequence, ascending on both sides; and cells it took.

    Args:
        left: keys.
        right: keys.
        cells: how many it may take.
    """
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    inner_left, inner_right = left[start : len(left) - end], right[start : len(right) - end]
    taken = len(inner_left) * len(inner_right)
    middle = _common if taken <= cells else _unique
    pairs = [
        *((i, i) for i in range(start)),
        *((start + i, start + j) for i, j in middle(inner_left, inner_right)),
        *((len(left) - end + i, len(right) - end + i) for i in range(end)),
    ]
    return pairs, taken if middle is _common else 0


def _common(left: Sequence[Hashable], right: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    lengths = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        row, below = lengths[i], lengths[i + 1]
        for j in range(len(right) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if left[i] == right[j] else max(below[j], row[j + 1])
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1


def _unique(left: Sequence[Hashable], right: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    places: dict[Hashable, list[int]] = {}
    for j, key in enumerate(right):
        places.setdefault(key, []).append(j)
    counts: dict[Hashable, int] = {}
    for key in left:
        counts[key] = counts.get(key, 0) + 1
    reached = -1
    for i, key in enumerate(left):
        found = places.get(key, ())
        if counts[key] == len(found) == 1 and found[0] > reached:
            reached = found[0]
            yield i, reached
