import io

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from farm.coordinator.inspection import defect


def png(width: int = 8, height: int = 6) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((width, height), 50).save(stream, "PNG")
    return stream.getvalue()


GOOD = png()


def test_a_whole_file_of_the_right_size_has_no_defect() -> None:
    assert defect(GOOD, 8, 6) is None


def test_a_picture_of_another_size_is_said_to_be_one() -> None:
    assert defect(GOOD, 6, 8) == "it is 8x6 pixels, not 6x8"


@given(st.integers(0, len(GOOD) - 1))
def test_a_file_that_was_cut_anywhere_is_noticed(length: int) -> None:
    assert defect(GOOD[:length], 8, 6) is not None


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_anywhere_is_noticed(position: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[position] ^= change
    assert defect(bytes(damaged), 8, 6) is not None


@given(st.binary(max_size=200))
def test_anything_else_is_no_picture(content: bytes) -> None:
    assert defect(content, 8, 6) is not None


def test_more_bytes_after_the_end_are_noticed() -> None:
    assert defect(GOOD + b"more", 8, 6) is not None
