"""`farm probe`: what this machine is."""

import dataclasses
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from farm.catalogue import Catalogue
from farm.cli.options import json_option
from farm.cli.output import console, print_json, print_table
from farm.cli.renderer import MEASUREMENTS
from farm.cli.worker import folder_option
from farm.domain import ChipClass, Measurement, ModelVariant
from farm.runtime.select import select_runtime
from farm.worker.probe import Condition, Machine, examine
from farm.worker.probe import probe as ask


@click.command(epilog="Example: farm probe --calibrate shapes")
@click.option(
    "--calibrate",
    "model",
    is_flag=False,
    flag_value="",
    metavar="[MODEL]",
    help="Also measure this model, or all models, on each available compute unit. Takes minutes on a Mac that has "
    "never loaded the model. Workers do this by themselves; this measures again.",
)
@folder_option
@json_option
def probe(model: str | None, folder: Path, as_json: bool) -> None:
    """Print what this machine is, what its chip favours and why, and what could not be determined."""
    machine, condition = ask(), examine()
    if not as_json:
        print_table(("FACT", "VALUE"), [*_machine_rows(machine), *_condition_rows(condition)], nothing="")
        for gap in machine.gaps:
            console().print(f"Not determined: {gap}")
    facts = {"machine": plain(machine), "condition": plain(condition)}
    if model is not None:
        facts["measurements"] = _calibrate(machine, model, folder, as_json)
    if as_json:
        print_json(facts)


def _calibrate(machine: Machine, name: str, folder: Path, as_json: bool) -> list[Any]:
    from farm.cli.calibrate import calibrate

    catalogue = Catalogue()
    models = [catalogue.get(name)] if name else catalogue.models()
    found = calibrate(machine, models, select_runtime(), folder / MEASUREMENTS)
    variants = {variant.digest: variant for model in models for variant in model.variants}
    if not as_json:
        console().print()
        columns = ("MODEL", "ATTENTION", "SIZE", "UNIT", "STEP", "SPREAD", "REST", "LOAD", "FIRST LOAD", "MEMORY")
        print_table(columns, [_measurement_row(variants[one.digest], one) for one in found], nothing="")
    return [{"model": variants[one.digest].model, **plain(one)} for one in found]


def _measurement_row(variant: ModelVariant, measured: Measurement) -> tuple[str, ...]:
    size = f"{variant.width}x{variant.height}"
    place = (variant.model, variant.attention.value, size, measured.compute_unit.value)
    if measured.failure:
        return (*place, f"failed: {measured.failure}", "", "", "", "", "")
    seconds = (measured.seconds_per_step, measured.spread_seconds, measured.fixed_seconds)
    return (
        *place,
        *(f"{value * 1000:,.0f} ms" for value in seconds),
        f"{measured.load_seconds:.1f} s",
        f"+{measured.compile_seconds:.1f} s",
        f"{measured.peak_memory_bytes / 2**30:.1f} GB",
    )


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
