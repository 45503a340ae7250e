"""When what goes wrong, and with which Mac: faults as single moments."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from farm.errors import ScenarioError
from farm.simulator.scenario import Fault, Faults

Change = Literal["slow", "crash", "leave", "return", "garbage", "sound"]

_BEGINS: dict[str, Change] = {"away": "leave", "crash": "crash", "slow": "slow", "garbage": "garbage"}
_ENDS: dict[str, Change] = {"away": "return", "slow": "slow", "garbage": "sound"}


@dataclass(frozen=True, slots=True)
class Upset:
    """A moment at which a Mac changes.

    Attributes:
        time: Seconds after the start.
        mac: Its number.
        kind: "slow" to `factor` (1 for its own speed again), "crash", "leave", "return", "garbage" from now on, or
            "sound" again.
        factor: How much longer its images take from now on.
    """

    time: float
    mac: int
    kind: Change
    factor: float = 1.0


def upsets(faults: Faults, mac_count: int, chance: random.Random) -> Iterator[Upset]:
    """Yields every moment of every fault, in no order.

    Raises:
        ScenarioError: A fault names a Mac that there is not.
    """
    for number, fault in enumerate(faults.fault):
        if strangers := [str(mac) for mac in fault.macs if not 0 <= mac < mac_count]:
            raise ScenarioError(
                f"fault[{number}].macs names {', '.join(strangers)}, but the fleet's Macs are numbered from 0 to "
                f"{mac_count - 1}, in the order of its file."
            )
        macs = fault.macs or tuple(range(mac_count))
        for time, mac in _occasions(fault, macs, chance):
            yield from _moments(fault, time, mac)


def _occasions(fault: Fault, macs: tuple[int, ...], chance: random.Random) -> Iterator[tuple[float, int]]:
    if not fault.every:
        yield from ((fault.at, mac) for mac in macs)
        return
    time = fault.at + chance.expovariate(1 / fault.every)
    while time < fault.until:
        yield time, chance.choice(macs)
        time += chance.expovariate(1 / fault.every)


def _moments(fault: Fault, time: float, mac: int) -> Iterator[Upset]:
    yield Upset(time, mac, _BEGINS[fault.kind], fault.factor)
    if fault.seconds and (ends := _ENDS.get(fault.kind)) is not None:
        yield Upset(time + fault.seconds, mac, ends)
