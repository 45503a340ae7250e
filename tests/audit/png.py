"""Reads a PNG file as the standard has it: every checksum, the pixels' length, the texts."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values a pixel by colour type."""


class BrokenPngError(Exception):
    """The bytes are no whole PNG file; the message says where it ends."""


@dataclass(frozen=True, slots=True)
class Png:
    """Size in pixels, and texts by keyword."""

    width: int
    height: int
    texts: dict[str, str]


def read_png(data: bytes) -> Png:
    """Reads a file to its end.

    Raises:
        BrokenPngError: Something of it is wrong.
    """
    chunks = list(_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or b"IDAT" not in kinds:
        raise BrokenPngError("it does not go from IHDR over IDAT to IEND")
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    try:
        pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    except zlib.error as error:
        raise BrokenPngError(f"its pixels cannot be unpacked ({error})") from error
    row_bytes = 1 + (width * depth * CHANNELS[colour] + 7) // 8
    if len(pixels) != row_bytes * height:
        raise BrokenPngError(f"it has {len(pixels)} bytes of pixels, not {row_bytes * height}")
    return Png(width, height, dict(_texts(chunks)))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(SIGNATURE):
        raise BrokenPngError("it does not begin as a PNG does")
    position = len(SIGNATURE)
    while position < len(data):
        head, tail = data[position : position + 8], position + 8
        if len(head) < 8:
            raise BrokenPngError("it ends within a chunk")
        length, kind = struct.unpack(">I4s", head)
        body, checksum = data[tail : tail + length], data[tail + length : tail + length + 4]
        if len(checksum) < 4:
            raise BrokenPngError("it ends within a chunk")
        if struct.pack(">I", zlib.crc32(kind + body)) != checksum:
            raise BrokenPngError(f"the checksum of its {kind.decode('latin-1')} is wrong")
        yield kind, body
        position = tail + length + 4


def _texts(chunks: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for kind, body in chunks:
        keyword, _, rest = body.partition(b"\0")
        if kind == b"tEXt":
            yield keyword.decode("latin-1"), rest.decode("latin-1")
        elif kind == b"zTXt":
            yield keyword.decode("latin-1"), zlib.decompress(rest[1:]).decode("latin-1")
        elif kind == b"iTXt":
            is_compressed, _, text = rest[0], rest[1], rest[2:].split(b"\0", 2)[2]
            yield keyword.decode("latin-1"), (zlib.decompress(text) if is_compressed else text).decode()
