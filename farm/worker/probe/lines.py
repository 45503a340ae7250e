"""Lines of the form "name: value", which most of the systems' commands print, and numbers in them."""

import re
from collections.abc import Mapping

_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def fields(text: str) -> dict[str, str]:
    """Values by name; the first of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def integer(values: Mapping[str, str], name: str) -> int | None:
    """A whole number; None if it is missing, something else or beyond reason."""
    value = values.get(name, "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def size_bytes(text: object) -> int:
    """Bytes of a size as Apple's profiler writes it, such as "16 GB"; 0 for anything else."""
    found = re.fullmatch(r"([0-9]{1,6}) ([KMGT]B)", text) if isinstance(text, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else 0
