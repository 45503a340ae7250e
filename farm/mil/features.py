"""What a model declares of an input or output."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or output of the model as its description declares it.

    Attributes:
        name: Its name.
        kind: "multiArray", or another kind of feature ("image", "dictionary", ...).
        dtype: numpy's name of the type of its elements; empty for another kind.
        shape: Its sizes, or its default sizes where it is flexible.
        shapes: Every shape it may have, where they are enumerated.
        ranges: Least and greatest size of each dimension, where it is flexible; None is without limit.
        default: Value of every element where the input is optional and not given.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    default: float | None = None

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be fed."""
        if self.shapes:
            return shape in self.shapes or shape == self.shape
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                low <= size and (high is None or size <= high)
                for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape
