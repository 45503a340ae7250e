"""Reads MIL's blob storage, version 2: the `weights/weight.bin` of an `.mlpackage`.

The file begins with a 64-byte header (`uint32` count, `uint32` version). A value is found by the offset of its
64-byte metadata: `uint32` sentinel 0xDEADBEEF, `uint32` storage type, `uint64` size in bytes, `uint64` offset of the
data, `uint64` bits of padding at the data's end. All of it is little-endian and aligned to 64 bytes. The storage types
were read off files that coremltools 9.0 wrote, one of each.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import PackageError

_HEADER = struct.Struct("<II")
_METADATA = struct.Struct("<IIQQQ")
_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2

_STORAGE_TYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1", 10: "uint2",
    11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_), "fp16": np.dtype("<f2"), "fp32": np.dtype("<f4"), "fp64": np.dtype("<f8"),
    "int8": np.dtype(np.int8), "int16": np.dtype("<i2"), "int32": np.dtype("<i4"), "int64": np.dtype("<i8"),
    "uint8": np.dtype(np.uint8), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4"), "uint64": np.dtype("<u8"),
}  # fmt: skip
"""How numpy names the MIL types that fill whole bytes."""

SUB_BYTE_BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
"""Bits of the MIL types that are packed, the first value in the least significant bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value that a package holds. A large one stays in the mapped file until it is asked for.

    Attributes:
        dtype: MIL's name of its type, for example "fp16", "uint4" or "string".
        shape: Its sizes.
        data: Its values in row-major order and one dimension; packed bytes for types below a byte.
    """

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[Any]

    def array(self) -> NDArray[Any]:
        """The value: a view where its type fills whole bytes; unpacked (as int8 or uint8) where it does not."""
        bits = SUB_BYTE_BITS.get(self.dtype)
        if bits is None:
            return self.data.reshape(self.shape)
        values = unpack(self.data, bits, math.prod(self.shape))
        if self.dtype.startswith("int"):
            sign = 1 << (bits - 1)
            return ((values ^ sign).astype(np.int8) - np.int8(sign)).reshape(self.shape)
        return values.reshape(self.shape)


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Spreads packed values, one to a byte.

    Args:
        packed: The bytes; the first value is in the least significant bits of the first, and a value may straddle two.
        bits: Bits of a value, 1 to 8.
        count: Number of values.

    Raises:
        ValueError: `packed` is too short.
    """
    if packed.size * 8 < count * bits:
        raise ValueError(f"{count} values of {bits} bits need {-(-count * bits // 8)} bytes, there are {packed.size}")
    if bits == 8:
        return packed[:count]
    values = np.zeros(count, np.uint8)
    stream = np.unpackbits(packed, bitorder="little", count=count * bits).reshape(count, bits)
    for bit in range(bits):
        values |= stream[:, bit] << np.uint8(bit)
    return values


class WeightFile:
    """A blob storage file, mapped read-only.

    Args:
        path: The file.

    Raises:
        PackageError: It is missing or is not a blob storage file of version 2.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._bytes = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError) as error:  # ValueError: mmap refuses empty files
            raise self._damaged(f"it cannot be read ({error})") from error
        if self._bytes.size < _ALIGNMENT or _HEADER.unpack(self._bytes[: _HEADER.size].tobytes())[1] != _VERSION:
            raise self._damaged(f"it does not start with the header of blob storage version {_VERSION}")

    def constant(self, offset: int, dtype: str, shape: tuple[int, ...]) -> Constant:
        """The value whose metadata is at `offset`.

        Args:
            offset: Offset of its metadata in bytes.
            dtype: MIL's name of the type that the program declares.
            shape: Sizes that the program declares.

        Raises:
            PackageError: There is no such value there, which means that the file is truncated or another model's.
        """
        what = f"a {dtype} value of shape {list(shape)} at offset {offset}"
        if offset + _ALIGNMENT > self._bytes.size:
            raise self._damaged(f"the program expects {what}, but the file ends at {self._bytes.size}")
        sentinel, storage_type, size, start, _ = _METADATA.unpack(
            self._bytes[offset : offset + _METADATA.size].tobytes()
        )
        if sentinel != _SENTINEL:
            raise self._damaged(f"the program expects {what}, but no value starts there")
        if _STORAGE_TYPES.get(storage_type) != dtype:
            stored = _STORAGE_TYPES.get(storage_type, f"unknown type {storage_type}")
            raise self._damaged(f"the program expects {what}, but the file holds {stored} there")
        bits = SUB_BYTE_BITS.get(dtype) or 8 * NUMPY_TYPES[dtype].itemsize
        expected = -(-math.prod(shape) * bits // 8)
        if size != expected:
            raise self._damaged(f"the program expects {what}, {expected} bytes, but the file holds {size} bytes there")
        if start + size > self._bytes.size:
            raise self._damaged(f"{what} should end at {start + size}, but the file ends at {self._bytes.size}")
        raw = self._bytes[start : start + size]
        return Constant(dtype, shape, raw if dtype in SUB_BYTE_BITS else raw.view(NUMPY_TYPES[dtype]))

    def _damaged(self, reason: str) -> PackageError:
        return PackageError(
            f"The weights {self._path} do not fit their program: {reason}. The package is damaged, incomplete or mixed "
            f"from two models; copy or convert it again.",
            path=str(self._path),
        )
