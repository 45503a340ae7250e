"""Runs the commands and reads the files that the rest of the probe reads. The only part that touches the machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from farm.worker.probe import power
from farm.worker.probe.linux import read_linux
from farm.worker.probe.machine import Machine, MacOutputs, read_mac
from farm.worker.probe.power import Condition
from farm.worker.probe.sysctl import KEYS

_COMMAND_SECONDS = 20.0

_THERMAL_SCRIPT = "ObjC.import('Foundation'); $.NSProcessInfo.processInfo.thermalState"


def probe() -> Machine:
    """Asks what machine this is; takes a second or two on a Mac."""
    if sys.platform == "darwin":
        return read_mac(
            MacOutputs(
                sysctl=output("sysctl", *KEYS),
                sw_vers=output("sw_vers"),
                gpu=output("ioreg", "-rc", "AGXAccelerator"),
                registry=output("ioreg", "-l"),
                hardware=output("system_profiler", "-json", "SPHardwareDataType"),
                displays=output("system_profiler", "-json", "SPDisplaysDataType"),
            )
        )
    return read_linux(
        cpuinfo=_text(Path("/proc/cpuinfo")),
        meminfo=_text(Path("/proc/meminfo")),
        os_release=_text(Path("/etc/os-release")),
        machine=platform.machine(),
        cores=os.cpu_count() or 0,
    )


def examine() -> Condition:
    """Asks how this machine fares now; knows nothing of one that is no Mac."""
    if sys.platform != "darwin":
        return Condition()
    on_mains = power.read_power_source(output("pmset", "-g", "batt"))
    arguments = ("--samplers", "thermal,cpu_power,gpu_power", "-i", "500", "-n", "1")
    pressure, watts = power.read_powermetrics(output("powermetrics", *arguments) if os.geteuid() == 0 else "")
    return Condition(
        on_mains=on_mains,
        low_power_mode=power.read_low_power_mode(output("pmset", "-g", "custom"), on_mains),
        thermal=pressure or power.read_thermal_state(output("osascript", "-l", "JavaScript", "-e", _THERMAL_SCRIPT)),
        cpu_speed_limit=power.read_speed_limit(output("pmset", "-g", "therm")),
        watts=watts,
    )


def output(*command: str, seconds: float = _COMMAND_SECONDS) -> str:
    """What a command prints in the C locale, also when it fails; nothing if it cannot be run or takes too long."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
