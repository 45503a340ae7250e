import json

import pytest

from farm.cli import probe as command
from farm.worker.probe import Condition
from farm.worker.probe.machine import read_mac
from farm.worker.probe.power import Thermal, Watts
from tests.cli.conftest import Run
from tests.worker.probe.printers import Mac


def test_this_machine_is_told_with_what_it_favours_and_why(run: Run) -> None:
    code, out, _ = run("probe")
    assert code == 0
    assert "memory" in out
    assert "favours" in out


def test_json_has_every_fact(run: Run) -> None:
    _, out, _ = run("probe", "--json")
    told = json.loads(out)
    assert told["machine"]["memory_bytes"] > 0
    assert told["machine"]["chip_class"] in ("ANE", "GPU", "CPU")
    assert set(told["condition"]) == {"on_mains", "low_power_mode", "thermal", "cpu_speed_limit", "watts"}


def test_a_mac_is_told_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ask", lambda: read_mac(Mac("Apple M2 Pro", 19).outputs()))
    condition = Condition(False, True, Thermal.FAIR, 62, Watts(1.5, 16.5, None))
    monkeypatch.setattr(command, "examine", lambda: condition)
    _, out, _ = run("probe")
    assert "Apple M2 Pro (MacBook Pro, Mac14,5)" in out
    assert "8 performance, 4 efficiency" in out
    assert "either may be faster" in out
    assert "battery" in out
    assert "CPU 1.5 W, GPU 16.5 W" in out
