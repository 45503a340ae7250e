"""Prints what macOS's commands would print on a Mac, in their format, for the values that a test gives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from farm.worker.probe.machine import MacOutputs

GIB = 2**30

Levels = Sequence[tuple[str | None, int]]
"""Name, or None where the system has none, and cores of each level."""


def sysctl(
    chip: str = "", model: str = "", memory: int = 0, levels: Levels = (), counts_levels: bool = True, **other: object
) -> str:
    """`sysctl KEY...`, the levels in no order that could be relied on; `other` has "__" for "." in keys."""
    keys: dict[str, object] = {"hw.model": model, "hw.memsize": memory, "machdep.cpu.brand_string": chip}
    for level, (name, cores) in reversed(list(enumerate(levels))):
        keys |= {f"hw.perflevel{level}.name": name, f"hw.perflevel{level}.physicalcpu": cores}
    keys["hw.nperflevels"] = len(levels) if counts_levels and levels else None
    keys |= {name.replace("__", "."): value for name, value in other.items()}
    return "".join(f"{name}: {value}\n" for name, value in keys.items() if value or name == "hw.osenvironment")


def sw_vers(version: str, build: str) -> str:
    return f"ProductName:\t\tmacOS\nProductVersion:\t\t{version}\nBuildVersion:\t\t{build}\n"


def hardware_json(**fields: object) -> str:
    """`system_profiler -json SPHardwareDataType`."""
    item = {"_name": "hardware_overview", "serial_number": "C02XX0XXXXXX", **fields}
    return json.dumps({"SPHardwareDataType": [item]}, indent=2)


def hardware_text(cores: str, memory: str, chip: str = "", model: str = "", name: str = "") -> str:
    """`system_profiler SPHardwareDataType`; `cores` as it stands there."""
    lines = {"Model Name": name, "Model Identifier": model, "Chip": chip}
    said = "".join(f"      {label}: {value}\n" for label, value in lines.items() if value)
    return (
        f"Hardware:\n\n    Hardware Overview:\n\n{said}      Total Number of Cores: {cores}\n      Memory: {memory}\n"
    )


def displays_json(gpu: str, cores: int | None) -> str:
    """`system_profiler -json SPDisplaysDataType`, with a screen; the cores are a string there."""
    item: dict[str, object] = {"_name": gpu, "sppci_model": gpu, "spdisplays_ndrvs": [{"_name": "Color LCD"}]}
    if cores is not None:
        item["sppci_cores"] = str(cores)
    return json.dumps({"SPDisplaysDataType": [item]})


def displays_text(gpu: str, cores: int) -> str:
    """`system_profiler SPDisplaysDataType`."""
    return f"Graphics/Displays:\n\n    {gpu}:\n\n      Chipset Model: {gpu}\n      Total Number of Cores: {cores}\n"


def gpu_registry(cores: int) -> str:
    """`ioreg -rc AGXAccelerator`."""
    return f'+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X>\n    {{\n      "gpu-core-count" = {cores}\n    }}\n'


def registry(generation: int | None = 11) -> str:
    """`ioreg -l`, of a machine with a Neural Engine of that generation or none; other classes are named alike."""
    engine = f'  +-o ANE0  <class H{generation}ANEIn, id 0x3, registered>\n      "a" = 1\n' if generation else ""
    return f"+-o Root  <class IORegistryEntry, id 0x1>\n  +-o decoy  <class H11ANEInterface, id 0x2>\n{engine}"


@dataclass(frozen=True)
class Mac:
    """A Mac as its commands tell of it, most of them in their usual form."""

    chip: str
    gpu_cores: int
    levels: Levels = (("Performance", 8), ("Efficiency", 4))
    memory_gb: int = 32

    def outputs(self) -> MacOutputs:
        return MacOutputs(
            sysctl=sysctl(self.chip, "Mac14,5", self.memory_gb * GIB, self.levels),
            sw_vers=sw_vers("26.1", "25B78"),
            gpu=gpu_registry(self.gpu_cores),
            registry=registry(),
            hardware=hardware_json(chip_type=self.chip, machine_model="Mac14,5", machine_name="MacBook Pro"),
            displays=displays_json(self.chip, self.gpu_cores),
        )
