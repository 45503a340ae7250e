"""`sysctl KEY...` of macOS: the chip, its CPU cores by level, memory, and whether all of that is real.

Traps: the command fails if it does not know one of the keys, and still prints the others; levels come in any order;
older systems have no names for levels, Intel Macs of old no levels; virtual machines and Intel Macs of today have one,
"Standard"; the M5 calls its levels "Super" and "Performance", the M6 has three. What `system_profiler` says in
`number_processors` means something else on each of them, so it is not read.
"""

from dataclasses import dataclass

from farm.worker.probe.lines import fields, integer

_LEVELS = 4
_UNNAMED = {1: ("Standard",), 2: ("Performance", "Efficiency")}
"""Names of levels where the system, of the years of M1 and M2, has none."""

KEYS = (
    "hw.memsize",
    "hw.model",
    "hw.nperflevels",
    *(f"hw.perflevel{level}.{name}" for level in range(_LEVELS) for name in ("name", "physicalcpu")),
    "hw.physicalcpu",
    "kern.hv_vmm_present",
    "machdep.cpu.brand_string",
    "sysctl.proc_translated",
)
"""What to ask for."""


@dataclass(frozen=True, slots=True)
class CoreLevel:
    """CPU cores that are alike, with the system's name for them."""

    name: str
    cores: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel says.

    Attributes:
        chip: Brand string of the processor; Rosetta gives a name of its own to it.
        model: Model identifier, such as "Mac16,12".
        levels: CPU cores, the fastest first; empty if nothing was said.
        memory_bytes: Physical memory.
        is_translated: Whether this process runs under Rosetta.
        is_virtual: Whether the kernel or the names say that this is a virtual machine.
    """

    chip: str
    model: str
    levels: tuple[CoreLevel, ...]
    memory_bytes: int
    is_translated: bool
    is_virtual: bool


def read_sysctl(text: str) -> Kernel:
    """Reads what `sysctl` prints for `KEYS`, or for more."""
    keys = fields(text)
    chip, model = keys.get("machdep.cpu.brand_string", ""), keys.get("hw.model", "")
    return Kernel(
        chip=chip,
        model=model,
        levels=_levels(keys),
        memory_bytes=integer(keys, "hw.memsize") or 0,
        is_translated=keys.get("sysctl.proc_translated") == "1",
        is_virtual="(Virtual)" in chip or model.startswith("VirtualMac") or keys.get("kern.hv_vmm_present") == "1",
    )


def _levels(keys: dict[str, str]) -> tuple[CoreLevel, ...]:
    count = integer(keys, "hw.nperflevels")
    counted = [(level, integer(keys, f"hw.perflevel{level}.physicalcpu")) for level in range(_LEVELS)][:count]
    cores = [(level, number) for level, number in counted if number]
    if not cores:
        total = integer(keys, "hw.physicalcpu")
        return (CoreLevel("Standard", total),) if total else ()
    unnamed = _UNNAMED.get(len(cores), tuple(f"Level {level}" for level, _ in cores))
    return tuple(
        CoreLevel(keys.get(f"hw.perflevel{level}.name") or name, number)
        for (level, number), name in zip(cores, unnamed, strict=True)
    )
