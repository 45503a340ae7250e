"""`farm probe`: what this machine is."""

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

import click

from farm.cli.options import json_option
from farm.cli.output import console, print_json, print_table
from farm.domain import ChipClass
from farm.worker.probe import Condition, Machine, examine
from farm.worker.probe import probe as ask


@click.command(epilog="Example: farm probe --json")
@json_option
def probe(as_json: bool) -> None:
    """Print what this machine is, what its chip favours and why, and what could not be learned."""
    machine, condition = ask(), examine()
    if as_json:
        print_json({"machine": plain(machine), "condition": plain(condition)})
        return
    print_table(("FACT", "VALUE"), [*_machine_rows(machine), *_condition_rows(condition)], nothing="")
    for gap in machine.gaps:
        console().print(f"Not learned: {gap}")


def plain(value: Any) -> Any:
    """Facts as JSON has them; what is not known is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _machine_rows(machine: Machine) -> Iterator[tuple[str, str]]:
    named = ", ".join(filter(None, (machine.name, machine.model)))
    yield "chip", f"{machine.chip or 'unknown'}{f' ({named})' if named else ''}"
    if machine.generation:
        yield "generation", f"M{machine.generation}"
    yield "favours", f"{machine.chip_class.value}: {machine.reason}"
    yield "CPU cores", ", ".join(f"{level.cores} {level.name.lower()}" for level in machine.levels) or "unknown"
    yield "GPU cores", str(machine.gpu_cores or ("none to use" if machine.chip_class is ChipClass.CPU else "unknown"))
    yield "Neural Engine", _yes(machine.has_ane)
    yield "memory", f"{machine.memory_bytes / 2**30:.0f} GB" if machine.memory_bytes else "unknown"
    yield "system", machine.os
    yield "Rosetta", _yes(machine.is_translated)
    yield "virtual machine", _yes(machine.is_virtual)


def _condition_rows(condition: Condition) -> Iterator[tuple[str, str]]:
    sources = {True: "mains", False: "battery", None: "unknown"}
    yield "power source", sources[condition.on_mains]
    yield "low-power mode", _yes(condition.low_power_mode)
    yield "thermal state", condition.thermal.value if condition.thermal else "unknown"
    if condition.cpu_speed_limit is not None:
        yield "CPU speed limit", f"{condition.cpu_speed_limit} %"
    drawn = {name: watts for name, watts in plain(condition.watts).items() if watts is not None}
    if drawn:
        yield "draws", ", ".join(f"{name.upper()} {watts:.1f} W" for name, watts in drawn.items())


def _yes(holds: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[holds]
