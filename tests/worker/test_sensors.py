"""What only a Mac can tell of itself."""

import sys
import time

import pytest

from farm.worker import sensors


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_a_machine_that_is_no_mac_tells_neither_heat_nor_energy() -> None:
    assert sensors.thermal_level() is None
    assert sensors.energy_gauge() is None


@pytest.mark.macos
def test_a_mac_tells_how_hot_it_is() -> None:
    assert sensors.thermal_level() in range(4)


@pytest.mark.macos
def test_a_mac_tells_energy_that_grows() -> None:
    joules = sensors.energy_gauge()
    assert joules is not None
    before = joules()
    until = time.monotonic() + 2
    while time.monotonic() < until:
        pass
    assert 0.1 < joules() - before < 500
