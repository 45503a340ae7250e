"""What became of the Macs' time, by class of chip and by chip."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from farm.domain import ChipClass
from farm.simulator.faults import stays
from farm.simulator.mac import Mac
from farm.simulator.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Usage:
    """What some Macs did with their time, until the last image of the run.

    A Mac's time is when it is there: when it has joined and is not away. What the three parts leave of it was idle.

    Attributes:
        chip_class: What their chips favour: "ANE", "GPU" or "CPU".
        chip: Their chip; None if they are all of their class.
        macs: How many they are.
        images: Images that they had committed.
        utilisation: Part of their time that went into these images; None if none of them was there.
        loading: Part that went into loading and compiling models.
        lost: Part that went into images that were cut short, refused, failed, or later than another Mac's.
    """

    chip_class: str
    chip: str | None
    macs: int
    images: int
    utilisation: float | None
    loading: float | None
    lost: float | None


Group = tuple[ChipClass, str | None]
Seconds = Mapping[tuple[int, str], float]
"""By a Mac's number, and what became of them."""


def usage_by_class(simulation: Simulation) -> tuple[Usage, ...]:
    """What the Macs of each class did."""
    found = _usages(simulation, lambda mac: (mac.facts.chip_class, None))
    order = [chip_class.value for chip_class in ChipClass]
    return tuple(sorted(found, key=lambda usage: order.index(usage.chip_class)))


def usage_by_chip(simulation: Simulation) -> tuple[Usage, ...]:
    """What the Macs with each chip did, in the order of the fleet."""
    return tuple(_usages(simulation, lambda mac: (mac.facts.chip_class, mac.facts.chip)))


def _usages(simulation: Simulation, group_of: Callable[[Mac], Group]) -> list[Usage]:
    seconds = _seconds(simulation)
    groups: dict[Group, list[Mac]] = {}
    for mac in simulation.macs:
        groups.setdefault(group_of(mac), []).append(mac)
    return [_usage(group, macs, seconds) for group, macs in groups.items()]


def _usage(group: Group, macs: list[Mac], seconds: Seconds) -> Usage:
    there = sum(seconds[mac.number, "there"] for mac in macs)

    def part(use: str) -> float | None:
        return sum(seconds[mac.number, use] for mac in macs) / there if there else None

    images = sum(mac.image_count for mac in macs)
    return Usage(group[0].value, group[1], len(macs), images, part("image"), part("load"), part("lost"))


def _seconds(simulation: Simulation) -> Seconds:
    end = simulation.records.last_commit
    found: dict[tuple[int, str], float] = defaultdict(float)
    for mac, mine in zip(simulation.macs, stays(simulation.upsets, len(simulation.macs)), strict=True):
        found[mac.number, "there"] = sum(max(0.0, min(stop, end) - start) for start, stop in mine)
        found[mac.number, "image"] = mac.busy_seconds
    for span in simulation.records.overhead:
        found[span.mac, span.use] += max(0.0, min(span.stop, end) - span.start)
    return found
