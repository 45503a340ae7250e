"""When what goes wrong, and with which Mac: faults as single moments."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Literal

from farm.errors import ScenarioError
from farm.simulator.scenario import Fault, Faults


@dataclass(frozen=True, slots=True)
class Upset:
    """A moment at which a Mac changes.

    Attributes:
        time: Seconds after the start.
        mac: Its number.
        kind: "join", "leave", "slow" to `factor` (1 for its own speed again), "crash", "garbage" from now on, or
            "sound" again.
        factor: How much longer its images take from now on.
    """

    time: float
    mac: int
    kind: Literal["join", "leave", "slow", "crash", "garbage", "sound"]
    factor: float = 1.0


Period = tuple[float, float]
"""From when until when, in seconds after the start; infinite if it does not end."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which a fault holds a Mac: from `start` until just before `stop`."""

    kind: str
    start: float
    stop: float
    factor: float = 1.0


def upsets(faults: Faults, joins: Sequence[float], chance: random.Random) -> list[Upset]:
    """Every moment at which a Mac joins, leaves or changes, in order of time.

    Faults of one Mac may overlap. It is there once its join time has come and no "away" holds; it is as slow as the
    worst "slow" that holds makes it, and makes garbage while any "garbage" holds.

    Args:
        faults: What goes wrong.
        joins: When each Mac joins.
        chance: Draws when the faults that are repeated happen, and to whom.

    Raises:
        ScenarioError: A fault names a Mac that there is not.
    """
    spells: list[list[Spell]] = [[Spell("away", 0.0, join)] for join in joins]
    for number, fault in enumerate(faults.fault):
        if strangers := [str(mac) for mac in fault.macs if not 0 <= mac < len(joins)]:
            raise ScenarioError(
                f"fault[{number}].macs names {', '.join(strangers)}, but the fleet's Macs are numbered from 0 to "
                f"{len(joins) - 1}, in the order of its file."
            )
        for time, mac in _occasions(fault, fault.macs or range(len(joins)), chance):
            spells[mac].append(Spell(fault.kind, time, time + (fault.seconds or math.inf), fault.factor))
    found = [upset for mac, mine in enumerate(spells) for upset in _changes(mac, mine)]
    return sorted(found, key=attrgetter("time"))


def stays(changes: Iterable[Upset], mac_count: int) -> list[list[Period]]:
    """When each Mac is there: from its joining to its leaving."""
    return _periods(changes, mac_count, lambda upset: {"join": True, "leave": False}.get(upset.kind))


def slow_times(changes: Iterable[Upset], mac_count: int) -> list[list[Period]]:
    """When each Mac is slower than usual."""
    return _periods(changes, mac_count, lambda upset: upset.factor > 1.0 if upset.kind == "slow" else None)


def _periods(
    changes: Iterable[Upset], mac_count: int, does_begin: Callable[[Upset], bool | None]
) -> list[list[Period]]:
    """What begins and ends at each Mac with some changes; others say None."""
    found: list[list[Period]] = [[] for _ in range(mac_count)]
    for upset in changes:
        mine, begins = found[upset.mac], does_begin(upset)
        is_on = bool(mine) and math.isinf(mine[-1][1])
        if begins and not is_on:
            mine.append((upset.time, math.inf))
        elif begins is False and is_on:
            mine[-1] = (mine[-1][0], upset.time)
    return found


def _occasions(fault: Fault, macs: Sequence[int], chance: random.Random) -> Iterator[tuple[float, int]]:
    if not fault.every:
        yield from ((fault.at, mac) for mac in macs)
        return
    time = fault.at + chance.expovariate(1 / fault.every)
    while time < fault.until:
        yield time, chance.choice(macs)
        time += chance.expovariate(1 / fault.every)


def _changes(mac: int, spells: Iterable[Spell]) -> Iterator[Upset]:
    """What changes at one Mac whenever a spell begins or ends."""
    edges: list[tuple[float, str, float, int]] = []
    for spell in spells:
        if spell.kind == "crash":
            yield Upset(spell.start, mac, "crash")
        else:
            edges.append((spell.start, spell.kind, spell.factor, 1))
            edges.append((spell.stop, spell.kind, spell.factor, -1))
    holding: Counter[tuple[str, float]] = Counter()
    was_there, was_slow, was_garbage = False, 1.0, False
    for time, together in groupby(sorted(edges), key=itemgetter(0)):
        for _, kind, factor, one in together:
            holding[kind, factor] += one
        holding = +holding
        if math.isinf(time):
            return
        kinds = {kind for kind, _ in holding}
        slowness = max((factor for kind, factor in holding if kind == "slow"), default=1.0)
        if slowness != was_slow:
            yield Upset(time, mac, "slow", slowness)
        if ("garbage" in kinds) != was_garbage:
            yield Upset(time, mac, "sound" if was_garbage else "garbage")
        if ("away" in kinds) == was_there:
            yield Upset(time, mac, "leave" if was_there else "join")
        was_there, was_slow, was_garbage = "away" not in kinds, slowness, "garbage" in kinds
