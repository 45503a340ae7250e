"""Puts together what a Mac's commands said, and judges what its chip favours."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from farm.domain import ChipClass
from farm.worker.probe.lines import fields
from farm.worker.probe.profiler import Displays, Hardware, read_displays, read_hardware
from farm.worker.probe.registry import read_ane, read_gpu_cores
from farm.worker.probe.sysctl import CoreLevel, Kernel, read_sysctl

_LEAST_CORES = {"Max": 24, "Ultra": 48}
"""GPU cores that a chip of that name has at least: those of the smallest M1 of each."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is.

    The first seven fields are as in `WorkerFacts`.

    Attributes:
        reason: Why it is of its class, in words.
        generation: 1 for an M1 and so on; 0 for no chip of Apple's.
        levels: CPU cores by level, the fastest first.
        model: Model identifier, such as "Mac16,12".
        name: What people call it, such as "MacBook Air".
        build: Build of macOS, such as "25B78"; on other systems, which have none, the same as `os`. Empty for a Mac
            that does not say it.
        is_translated: Whether this process runs under Rosetta.
        is_virtual: Whether it is a virtual machine.
        gaps: What could not be learned, and what was assumed.
    """

    chip: str
    chip_class: ChipClass
    gpu_cores: int
    performance_cores: int
    has_ane: bool
    memory_bytes: int
    os: str
    reason: str = ""
    generation: int = 0
    levels: tuple[CoreLevel, ...] = ()
    model: str = ""
    name: str = ""
    build: str = ""
    is_translated: bool = False
    is_virtual: bool = False
    gaps: tuple[str, ...] = ()

    @property
    def is_between(self) -> bool:
        """Whether published figures do not say which of its two accelerators is the faster one."""
        return self.has_ane and ChipClass.is_between(self.gpu_cores)


@dataclass(frozen=True, slots=True)
class MacOutputs:
    """What a Mac's commands printed; empty for those that could not be run.

    Attributes:
        sysctl: `sysctl KEY...`.
        sw_vers: `sw_vers`.
        gpu: `ioreg -rc AGXAccelerator`.
        registry: `ioreg -l`.
        hardware: `system_profiler -json SPHardwareDataType`, or its text.
        displays: `system_profiler -json SPDisplaysDataType`, or its text.
    """

    sysctl: str = ""
    sw_vers: str = ""
    gpu: str = ""
    registry: str = ""
    hardware: str = ""
    displays: str = ""


def read_mac(outputs: MacOutputs) -> Machine:
    """Reads a Mac's facts from what its commands print."""
    kernel, version = read_sysctl(outputs.sysctl), fields(outputs.sw_vers)
    hardware, displays = read_hardware(outputs.hardware), read_displays(outputs.displays)
    chip = _chip(kernel.chip, hardware.chip, displays.gpu)
    generation = re.match(r"Apple M(\d{1,3})\b", chip)
    is_virtual = kernel.is_virtual or "(Virtual)" in chip or "Paravirtual" in displays.gpu
    cannot = _why_no_accelerator(chip, kernel.is_translated, is_virtual)
    seen_ane = read_ane(outputs.registry)
    # Every Apple chip that runs macOS has a Neural Engine, so a registry that says nothing does not take it away.
    has_ane = not cannot and seen_ane is not False
    gpu_cores = 0 if cannot else read_gpu_cores(outputs.gpu) or displays.gpu_cores
    levels = kernel.levels or hardware.levels
    memory_bytes = kernel.memory_bytes or hardware.memory_bytes
    judged_cores = gpu_cores or _least_cores(chip)
    return Machine(
        chip=chip,
        chip_class=ChipClass.CPU if cannot else ChipClass.favoured(judged_cores, has_ane=has_ane),
        gpu_cores=gpu_cores,
        performance_cores=levels[0].cores if levels else 0,
        has_ane=has_ane,
        memory_bytes=memory_bytes,
        os=_mac_os(version),
        reason=cannot or _why(gpu_cores, judged_cores, has_ane),
        generation=int(generation[1]) if generation else 0,
        levels=levels,
        model=kernel.model or hardware.model,
        name=hardware.name,
        build=version.get("BuildVersion", ""),
        is_translated=kernel.is_translated,
        is_virtual=is_virtual,
        gaps=tuple(_gaps(chip, kernel, hardware, displays, version, cannot, seen_ane, gpu_cores)),
    )


def _chip(of_kernel: str, of_hardware: str, gpu: str) -> str:
    """The chip's name. Rosetta hides it, or makes one up ("VirtualApple @ 2.50GHz"); then its GPU's is the same."""
    if of_kernel.startswith("Apple "):
        return of_kernel
    of_gpu = gpu if gpu.startswith("Apple ") and "Paravirtual" not in gpu else ""
    is_made_up = of_kernel.startswith("VirtualApple")
    return of_hardware or ("" if is_made_up else of_kernel) or of_gpu or of_kernel


def _why_no_accelerator(chip: str, is_translated: bool, is_virtual: bool) -> str:
    if is_translated:
        return (
            "this process runs under Rosetta, from where the Neural Engine cannot be reached; use a Python for arm64 "
            "(`file $(which python3)` says what yours is)"
        )
    if is_virtual:
        return "this is a virtual machine, which has no Neural Engine and no GPU of its own"
    if not chip.startswith("Apple "):
        return f"{chip or 'an unknown processor'} is not one of Apple's chips, so there is no Neural Engine"
    return ""


def _least_cores(chip: str) -> int:
    return next((cores for name, cores in _LEAST_CORES.items() if chip.endswith(f" {name}")), 0)


def _why(gpu_cores: int, judged_cores: int, has_ane: bool) -> str:
    if not has_ane:
        return "there is no Neural Engine, so it is the GPU"
    if not judged_cores:
        return "the number of GPU cores is not known; the Neural Engine is assumed, for its energy"
    if not gpu_cores:
        return f"no chip of its name has fewer than {judged_cores} GPU cores, with which the GPU is the faster one"
    if ChipClass.is_between(gpu_cores):
        return (
            f"with {gpu_cores} GPU cores either may be faster: both are timed before it renders, and until then the "
            "Neural Engine is assumed, for its energy"
        )
    if ChipClass.favoured(gpu_cores) is ChipClass.GPU:
        return f"with {gpu_cores} GPU cores the GPU was faster wherever both were published"
    return f"with {gpu_cores} GPU cores the Neural Engine was faster wherever both were published"


def _gaps(
    chip: str,
    kernel: Kernel,
    hardware: Hardware,
    displays: Displays,
    version: dict[str, str],
    cannot: str,
    seen_ane: bool | None,
    gpu_cores: int,
) -> Iterator[str]:
    if not chip:
        yield "chip: neither sysctl nor system_profiler names it"
    if not (kernel.levels or hardware.levels):
        yield "CPU cores: sysctl does not count them"
    if not (kernel.memory_bytes or hardware.memory_bytes):
        yield "memory: neither sysctl nor system_profiler says"
    if not version.get("BuildVersion"):
        yield "macOS build: sw_vers does not say, so speeds that were measured are not kept"
    if cannot:
        return
    if not gpu_cores:
        yield "GPU cores: neither ioreg nor system_profiler counts them"
    elif displays.gpu_cores not in (0, gpu_cores):
        yield f"GPU cores: ioreg counts {gpu_cores}, system_profiler {displays.gpu_cores}; the former was taken"
    if seen_ane is None:
        yield "Neural Engine: ioreg prints nothing; it was assumed, as every chip of Apple's has one"


def _mac_os(version: dict[str, str]) -> str:
    build = version.get("BuildVersion")
    name = f"{version.get('ProductName', 'macOS')} {version.get('ProductVersion', '')}".rstrip()
    return f"{name} ({build})" if build else name
