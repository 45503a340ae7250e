"""How a Mac fares: where its power comes from, what holds its clocks down, and what it draws.

Nothing of this can be trusted to tell a Mac that throttles: on Apple silicon `pmset -g therm` prints the same whatever
happens, and `powermetrics` needs root. What does tell is that its own steps take longer, which the scheduler learns.
"""

import enum
import re
from dataclasses import dataclass

from farm.worker.probe.lines import fields


class Thermal(enum.Enum):
    """How hot it is, with NSProcessInfo's names; those of `powermetrics` are told apart by their number, see below."""

    NOMINAL = "nominal"
    FAIR = "fair"
    SERIOUS = "serious"
    CRITICAL = "critical"


_PRESSURES = {
    "nominal": Thermal.NOMINAL,
    "moderate": Thermal.FAIR,
    "heavy": Thermal.SERIOUS,
    "trapping": Thermal.CRITICAL,
    "sleeping": Thermal.CRITICAL,
}
"""Levels of "thermal pressure" in `powermetrics`, from the least."""


@dataclass(frozen=True, slots=True)
class Watts:
    """Power drawn, in watts; None for what was not said."""

    cpu: float | None = None
    gpu: float | None = None
    ane: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """How a machine fares now. None stands for what could not be learned.

    Attributes:
        on_mains: Whether it has mains power, rather than its battery's.
        low_power_mode: Whether its user has capped its clocks.
        thermal: How hot it is.
        cpu_speed_limit: Percent of its clock that an Intel CPU may run at.
        watts: What it draws; known to root only.
    """

    on_mains: bool | None = None
    low_power_mode: bool | None = None
    thermal: Thermal | None = None
    cpu_speed_limit: int | None = None
    watts: Watts = Watts()


def read_power_source(text: str) -> bool | None:
    """Whether there is mains power, from `pmset -g batt`; None if it does not say."""
    found = re.search(r"'(AC|Battery|UPS) Power'", text)
    return found[1] == "AC" if found else None


def read_low_power_mode(text: str, on_mains: bool | None) -> bool | None:
    """Whether low-power mode is on, from `pmset -g custom`, which lists settings by source of power.

    Args:
        text: What it printed.
        on_mains: Which source is in use; if that is not known, any section counts.
    """
    sections = re.split(r"^(\w+) Power:\s*$", text, flags=re.MULTILINE)
    wanted = None if on_mains is None else "AC" if on_mains else "Battery"
    # A desktop has no section for a battery, and may be without any.
    named = dict(zip(sections[1::2], sections[2::2], strict=True))
    body = named.get(wanted or "", text)
    found = re.findall(r"^\s*(?:lowpowermode|powermode)\s+([0-9])\b", body, re.MULTILINE)
    return "1" in found if found else None


def read_speed_limit(text: str) -> int | None:
    """Percent of the clock that an Intel CPU may run at, from `pmset -g therm`; None on Apple silicon."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*([0-9]{1,3})\b", text)
    return int(found[1]) if found else None


def read_thermal_state(text: str) -> Thermal | None:
    """NSProcessInfo's thermal state, from the number that `osascript` prints."""
    states = dict(enumerate(Thermal))
    return states.get(int(text)) if re.fullmatch(r"[0-9]", text := text.strip()) else None


def read_powermetrics(text: str) -> tuple[Thermal | None, Watts]:
    """Thermal pressure and power, from `powermetrics --samplers thermal,cpu_power,gpu_power -n 1`."""
    labels = fields(text)
    pressure = _PRESSURES.get(labels.get("Current pressure level", "").lower())
    return pressure, Watts(*(_watts(labels.get(f"{part} Power", "")) for part in ("CPU", "GPU", "ANE")))


def _watts(text: str) -> float | None:
    found = re.fullmatch(r"([0-9]{1,7}) mW", text)
    return int(found[1]) / 1000 if found else None
