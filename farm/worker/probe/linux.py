"""The files by which Linux says what machine it runs on."""

import re

from farm.domain import ChipClass
from farm.worker.probe.lines import fields
from farm.worker.probe.machine import Machine
from farm.worker.probe.sysctl import CoreLevel


def read_linux(*, cpuinfo: str, meminfo: str, os_release: str, machine: str, cores: int) -> Machine:
    """Reads a Linux machine's facts from its files.

    Args:
        cpuinfo: /proc/cpuinfo, which names the model on x86 only.
        meminfo: /proc/meminfo.
        os_release: /etc/os-release.
        machine: `uname -m`, for processors without a name.
        cores: Processors that the system counts.
    """
    processor = fields(cpuinfo)
    total = re.match(r"([0-9]{1,15}) kB", fields(meminfo).get("MemTotal", ""))
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', os_release, re.MULTILINE)
    system = name[1] if name else "Linux"
    return Machine(
        chip=processor.get("model name", "") or machine,
        chip_class=ChipClass.CPU,
        gpu_cores=0,
        performance_cores=cores,
        has_ane=False,
        memory_bytes=int(total[1]) * 1024 if total else 0,
        os=system,
        reason="this is not a Mac, so there is no Core ML: models run on the CPU, with the portable runtime",
        levels=(CoreLevel("Standard", cores),) if cores else (),
        build=system,
        is_virtual="hypervisor" in processor.get("flags", "").split(),
        gaps=() if total else ("memory: /proc/meminfo does not say",),
    )
