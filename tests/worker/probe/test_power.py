import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.worker.probe.power import (
    Thermal,
    Watts,
    read_low_power_mode,
    read_power_source,
    read_powermetrics,
    read_speed_limit,
    read_thermal_state,
)

QUIET = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n"


def therm(limit: int) -> str:
    """`pmset -g therm` of an Intel Mac; the values are set off by a space, a tab and "= "."""
    values = {"CPU_Scheduler_Limit": 100, "CPU_Available_CPUs": 12, "CPU_Speed_Limit": limit}
    lines = "".join(f"\t{name} \t= {value}\n" for name, value in values.items())
    return f"{QUIET}2026-08-20 05:08:37 -0700 CPU Power notify\n{lines}"


def custom(battery: int | None, mains: int, key: str = "lowpowermode") -> str:
    """`pmset -g custom` of a portable, or of a desktop, which has no battery."""
    sections = {"Battery": battery, "AC": mains}
    return "".join(
        f"{name} Power:\n Sleep On Power Button 1\n {key}         {value}\n displaysleep         10\n"
        for name, value in sections.items()
        if value is not None
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged;\n", True),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t42%; discharging;\n", False),
        ("Now drawing from 'UPS Power'\n", False),
        ("", None),
    ],
)
def test_the_source_of_power_is_read(text: str, expected: bool | None) -> None:
    assert read_power_source(text) is expected


@pytest.mark.parametrize(
    ("text", "on_mains", "expected"),
    [
        (custom(battery=1, mains=0), True, False),
        (custom(battery=1, mains=0), False, True),
        (custom(battery=1, mains=0), None, True),
        (custom(battery=None, mains=1), True, True),
        (custom(battery=None, mains=0), None, False),
        (custom(battery=1, mains=2, key="powermode"), True, False),
        ("AC Power:\n displaysleep 10\n", True, None),
        ("", True, None),
    ],
)
def test_low_power_mode_is_that_of_the_source_in_use(text: str, on_mains: bool | None, expected: bool | None) -> None:
    assert read_low_power_mode(text, on_mains) is expected


@pytest.mark.parametrize(("text", "expected"), [(QUIET, None), (therm(100), 100), (therm(62), 62), ("", None)])
def test_only_intel_macs_tell_their_speed_limit(text: str, expected: int | None) -> None:
    assert read_speed_limit(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n", Thermal.NOMINAL),
        ("1", Thermal.FAIR),
        ("3", Thermal.CRITICAL),
        ("7", None),
        ("", None),
        ("nominal", None),
    ],
)
def test_the_thermal_state_is_read_from_its_number(text: str, expected: Thermal | None) -> None:
    assert read_thermal_state(text) is expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("Nominal", Thermal.NOMINAL),
        ("Moderate", Thermal.FAIR),
        ("Heavy", Thermal.SERIOUS),
        ("Trapping", Thermal.CRITICAL),
        ("Sleeping", Thermal.CRITICAL),
        ("Balmy", None),
    ],
)
def test_powermetrics_tells_pressure_and_watts(level: str, expected: Thermal | None) -> None:
    drawn = {"CPU": 5267, "GPU": 128, "ANE": 0}
    text = "".join(f"{part} Power: {power} mW\n" for part, power in drawn.items())
    text += "Combined Power (CPU + GPU + ANE): 5395 mW\n\n**** Thermal pressure ****\n\n"
    text += (
        f"Current pressure level: {level}\n\n**** GPU usage ****\n\nGPU idle residency:  86.09%\nGPU Power: 124 mW\n"
    )
    assert read_powermetrics(text) == (expected, Watts(5.267, 0.128, 0.0))


def test_powermetrics_that_may_not_run_tells_nothing() -> None:
    assert read_powermetrics("powermetrics must be invoked as the superuser\n") == (None, Watts())


@given(st.text())
def test_no_output_makes_the_readers_raise(text: str) -> None:
    read_power_source(text)
    read_low_power_mode(text, True)
    read_low_power_mode(f"AC Power:\n{text}", True)
    read_speed_limit(f"CPU_Speed_Limit = {text}")
    read_thermal_state(text)
    read_powermetrics(f"CPU Power: {text}\nCurrent pressure level: {text}")
