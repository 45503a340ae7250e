"""A set of image indices that costs by its gaps, not by its size."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator

Range = tuple[int, int]
"""First index, and one past the last."""


class RangeSet:
    """Integers kept as sorted, disjoint, non-adjacent half-open ranges.

    A job of a million images that wait is one range. Adding and removing cost O(log n) to find and O(n) to shift, n
    being the number of ranges.

    Args:
        ranges: What it holds at first; may overlap.
    """

    __slots__ = ("_count", "_starts", "_stops")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._count = 0
        for start, stop in ranges:
            self.add(start, stop)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        position = bisect_right(self._starts, index) - 1
        return position >= 0 and index < self._stops[position]

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges():
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # a set that changes has no hash

    def __repr__(self) -> str:
        return f"RangeSet({self.ranges()})"

    def ranges(self) -> list[Range]:
        """What it holds, in order."""
        return list(zip(self._starts, self._stops, strict=True))

    def add(self, start: int, stop: int) -> None:
        """Adds start, start + 1, ... stop - 1, whichever of them it holds already."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        absorbed = zip(self._starts[first:last], self._stops[first:last], strict=True)
        self._count -= sum(end - begin for begin, end in absorbed)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
        self._count += stop - start

    def covers(self, start: int, stop: int) -> bool:
        """Whether it holds all of start, start + 1, ... stop - 1."""
        position = bisect_right(self._starts, start) - 1
        return start >= stop or (position >= 0 and stop <= self._stops[position])

    def discard(self, start: int, stop: int) -> None:
        """Removes start, start + 1, ... stop - 1, whichever of them it holds."""
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if start >= stop or first >= last:
            return
        touched = list(zip(self._starts[first:last], self._stops[first:last], strict=True))
        edges = ((touched[0][0], start), (stop, touched[-1][1]))
        kept = [(begin, end) for begin, end in edges if begin < end]
        self._starts[first:last] = [begin for begin, _ in kept]
        self._stops[first:last] = [end for _, end in kept]
        self._count += sum(end - begin for begin, end in kept) - sum(end - begin for begin, end in touched)

    def first_run(self, limit: int, avoid: Collection[int] = frozenset()) -> Range:
        """The lowest run of at most `limit` indices, none of them in `avoid`.

        Raises:
            KeyError: There is none.
        """
        for first, stop in zip(self._starts, self._stops, strict=True):
            start = next((index for index in range(first, stop) if index not in avoid), stop)
            if start < stop:
                end = min(stop, start + limit)
                return start, next((index for index in range(start, end) if index in avoid), end) if avoid else end
        raise KeyError("empty")
