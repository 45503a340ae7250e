"""`ioreg` of macOS: the registry of devices."""

import re


def read_gpu_cores(text: str) -> int:
    """GPU cores, from `ioreg -rc AGXAccelerator`; 0 if it does not say."""
    found = re.search(r'"gpu-core-count"\s*=\s*([0-9]{1,4})\b', text)
    return int(found[1]) if found else 0


def read_ane(text: str) -> bool | None:
    """Whether there is a Neural Engine, from `ioreg -l`; None if that printed no registry.

    The engine is a device of class H<generation>ANEIn.
    """
    if "<class " not in text:
        return None
    return re.search(r"<class H\d+ANEIn\b", text) is not None
