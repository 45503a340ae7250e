"""`system_profiler` of macOS, SPHardwareDataType and SPDisplaysDataType, as JSON or as text: a second witness.

It fills in what `sysctl` and `ioreg` did not say. As text, its labels are in the user's language, so only English is
understood; "Total Number of Cores" means CPU cores in one report and GPU cores in the other.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from farm.worker.probe.lines import fields, size_bytes
from farm.worker.probe.sysctl import CoreLevel


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the hardware report says.

    Attributes:
        chip: Apple's chip, or Intel's name of the processor; empty under Rosetta, which hides it.
        model: Model identifier, such as "Mac16,12".
        name: What people call it, such as "MacBook Air".
        memory_bytes: Physical memory.
        levels: CPU cores by level; the text form alone has them in a form that is the same everywhere.
    """

    chip: str
    model: str
    name: str
    memory_bytes: int
    levels: tuple[CoreLevel, ...]


@dataclass(frozen=True, slots=True)
class Displays:
    """What the displays report says of the GPU.

    Attributes:
        gpu: Its name.
        gpu_cores: Cores of an Apple GPU; 0 for any other.
    """

    gpu: str
    gpu_cores: int


def read_hardware(text: str) -> Hardware:
    """Reads SPHardwareDataType."""
    (item, *_) = [*_items(text, "SPHardwareDataType"), None]
    if item is not None:
        chip = _word(item, "chip_type") or _word(item, "cpu_type")
        return Hardware(
            chip="" if chip == "Unknown" else chip,
            model=_word(item, "machine_model"),
            name=_word(item, "machine_name"),
            memory_bytes=size_bytes(item.get("physical_memory")),
            levels=(),
        )
    labels = fields(text)
    return Hardware(
        chip=labels.get("Chip", "") or labels.get("Processor Name", ""),
        model=labels.get("Model Identifier", ""),
        name=labels.get("Model Name", ""),
        memory_bytes=size_bytes(labels.get("Memory")),
        levels=_text_levels(labels.get("Total Number of Cores", "")),
    )


def _text_levels(cores: str) -> tuple[CoreLevel, ...]:
    """From "14 (10 performance and 4 efficiency)"; newer systems write the names with capitals."""
    _, _, inside = cores.partition("(")
    return tuple(CoreLevel(name.title(), int(count)) for count, name in re.findall(r"([0-9]{1,4}) ([A-Za-z]+)", inside))


def read_displays(text: str) -> Displays:
    """Reads SPDisplaysDataType; the number of cores is a string there. An Apple GPU counts before any other."""
    items = list(_items(text, "SPDisplaysDataType"))
    if items:
        (item, *_) = [*(item for item in items if _word(item, "sppci_cores")), *items]
        return Displays(_word(item, "sppci_model") or _word(item, "_name"), _cores(_word(item, "sppci_cores")))
    labels = fields(text)
    return Displays(labels.get("Chipset Model", ""), _cores(labels.get("Total Number of Cores", "")))


def _items(text: str, report: str) -> Iterator[Mapping[str, Any]]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    items = whole.get(report) if isinstance(whole, dict) else None
    yield from (item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()


def _word(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    # JSON can hold half a character, which nothing could print or send.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _cores(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
