"""Damage to files, as disks, transfers and editors do it, and worse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing that befalls a file.

    Attributes:
        happen: Takes the content, where in it, and what.
        place: Where, as a share of the length.
        what: Bytes that come in, or how many are concerned.
    """

    happen: Callable[[bytes, int, Any], bytes]
    place: float
    what: Any


def damaged(content: bytes, damage: Sequence[Mutation]) -> bytes:
    """What becomes of a file."""
    for mutation in damage:
        content = mutation.happen(content, int(mutation.place * len(content)), mutation.what)
    return content


def flip(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes(byte ^ (1 << bit) for byte in content[at : at + 1]) + content[at + 1 :]


def overwrite(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def insert(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at:]


def remove(content: bytes, at: int, count: int) -> bytes:
    return content[:at] + content[at + count :]


def repeat(content: bytes, at: int, count: int) -> bytes:
    return content[: at + count] + content[at:]


def truncate(content: bytes, at: int, _: None) -> bytes:
    return content[:at]


_FEW_BYTES = st.binary(min_size=1, max_size=9)
_COUNT = st.integers(1, 200)
_WHATS: dict[Callable[[bytes, int, Any], bytes], st.SearchStrategy[Any]] = {
    flip: st.integers(0, 7),
    overwrite: _FEW_BYTES,
    insert: _FEW_BYTES,
    remove: _COUNT,
    repeat: _COUNT,
    truncate: st.none(),
}

DAMAGE = st.lists(
    st.one_of(
        *(
            st.builds(Mutation, st.just(happen), st.floats(0, 1, exclude_max=True), what)
            for happen, what in _WHATS.items()
        )
    ),
    min_size=1,
    max_size=3,
)
"""Draws one to three mutations."""
