"""What machine this is: pure functions from what the system's own commands print, and one that runs them.

Nothing here raises: what a machine does not say is left at its least (0, False, "").
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.domain import ChipClass

GPU_CLASS_CORES = 24
"""From this many GPU cores on a chip favours its GPU; published measurements of Stable Diffusion favour the Neural
Engine up to 14 cores, and between the two it is taken for its energy until it was measured."""

_COMMAND_SECONDS = 20.0
_SYSCTL_KEYS = (
    "hw.memsize",
    "hw.model",
    "hw.perflevel0.physicalcpu",
    "hw.physicalcpu",
    "kern.hv_vmm_present",
    "machdep.cpu.brand_string",
    "sysctl.proc_translated",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of `WorkerFacts` that the machine decides; fields as there."""

    chip: str
    chip_class: ChipClass
    gpu_cores: int
    performance_cores: int
    has_ane: bool
    memory_bytes: int
    os: str


def probe() -> Machine:
    """Asks this machine; takes a second or two on a Mac."""
    if sys.platform == "darwin":
        return read_mac(
            sysctl=_output("sysctl", *_SYSCTL_KEYS),
            sw_vers=_output("sw_vers"),
            gpu=_output("ioreg", "-rc", "AGXAccelerator"),
            registry=_output("ioreg", "-l"),
        )
    return read_linux(
        cpuinfo=_text(Path("/proc/cpuinfo")),
        meminfo=_text(Path("/proc/meminfo")),
        os_release=_text(Path("/etc/os-release")),
        machine=platform.machine(),
        cores=os.cpu_count() or 0,
    )


def read_mac(*, sysctl: str, sw_vers: str, gpu: str, registry: str) -> Machine:
    """Reads a Mac's facts from what its commands print.

    Args:
        sysctl: `sysctl KEY...`, which prints the keys it knows and fails if it does not know one.
        sw_vers: `sw_vers`.
        gpu: `ioreg -rc AGXAccelerator`.
        registry: `ioreg -l`, in which the Neural Engine is a device of class H<generation>ANEIn. If it says nothing
            at all the engine is taken to be there, since every Apple chip that runs macOS has one.
    """
    keys = _fields(sysctl)
    chip = keys.get("machdep.cpu.brand_string", "")
    # Under Rosetta an x86 process cannot reach the Neural Engine, whatever the chip calls itself there.
    is_native = chip.startswith("Apple ") and keys.get("sysctl.proc_translated") != "1"
    is_virtual_model = keys.get("hw.model", "").startswith("VirtualMac")
    is_virtual = is_virtual_model or "(Virtual)" in chip or keys.get("kern.hv_vmm_present") == "1"
    has_accelerators = is_native and not is_virtual
    has_ane = has_accelerators and (not registry or re.search(r"<class H\d+ANEIn\b", registry) is not None)
    cores = re.search(r'"gpu-core-count"\s*=\s*(\d{1,4})\b', gpu)
    gpu_cores = int(cores[1]) if cores and has_accelerators else 0
    # Level 0 is the fastest one; macOS before 12 and Intel Macs may not know levels.
    performance_cores = _integer(keys, "hw.perflevel0.physicalcpu") or _integer(keys, "hw.physicalcpu")
    return Machine(
        chip=chip,
        chip_class=_chip_class(has_accelerators, has_ane, gpu_cores),
        gpu_cores=gpu_cores,
        performance_cores=performance_cores,
        has_ane=has_ane,
        memory_bytes=_integer(keys, "hw.memsize"),
        os=_mac_os(_fields(sw_vers)),
    )


def read_linux(*, cpuinfo: str, meminfo: str, os_release: str, machine: str, cores: int) -> Machine:
    """Reads a Linux machine's facts from its files.

    Args:
        cpuinfo: /proc/cpuinfo, which names the model on x86 only.
        meminfo: /proc/meminfo.
        os_release: /etc/os-release.
        machine: `uname -m`, for processors without a name.
        cores: Processors that the system counts.
    """
    chip = _fields(cpuinfo).get("model name", "") or machine
    total = re.match(r"(\d{1,15}) kB", _fields(meminfo).get("MemTotal", ""))
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', os_release, re.MULTILINE)
    return Machine(
        chip=chip,
        chip_class=ChipClass.CPU,
        gpu_cores=0,
        performance_cores=cores,
        has_ane=False,
        memory_bytes=int(total[1]) * 1024 if total else 0,
        os=name[1] if name else "Linux",
    )


def _chip_class(has_accelerators: bool, has_ane: bool, gpu_cores: int) -> ChipClass:
    if not has_accelerators:
        return ChipClass.CPU
    return ChipClass.GPU if gpu_cores >= GPU_CLASS_CORES or not has_ane else ChipClass.ANE


def _mac_os(version: Mapping[str, str]) -> str:
    build = version.get("BuildVersion")
    name = f"{version.get('ProductName', 'macOS')} {version.get('ProductVersion', '')}".rstrip()
    return f"{name} ({build})" if build else name


def _fields(text: str) -> dict[str, str]:
    """Lines of the form "name: value"; the first of a name counts."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _integer(fields: Mapping[str, str], name: str) -> int:
    value = fields.get(name, "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else 0


def _output(*command: str) -> str:
    """What the command prints, also when it fails; nothing if it cannot be run or takes too long."""
    try:
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
