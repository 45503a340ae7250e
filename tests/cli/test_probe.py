import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.cli import calibrate
from farm.cli import probe as command
from farm.domain import Measurement
from farm.worker.device_lock import DeviceLock
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker's folder, with locks of its own beside it."""
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    return tmp_path / "worker"


def test_a_model_is_measured_and_kept(run: Run, folder: Path) -> None:
    code, out, err = run("probe", "--calibrate", "shapes", "--folder", folder, "--json")
    assert code == 0, err
    (measured,) = json.loads(out)["measurements"]
    assert (measured["model"], measured["compute_unit"], measured["failure"]) == ("shapes", "CPU_ONLY", "")
    assert measured["seconds_per_step"] > 0
    kept = json.loads((folder / "measurements.json").read_text())
    assert kept[0]["measurement"]["seconds_per_step"] == measured["seconds_per_step"]


def test_what_was_measured_before_an_interrupt_is_kept(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = calibrate._follow

    def interrupted(*arguments: Any) -> Iterator[Measurement]:
        yield next(follow(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate, "_follow", interrupted)
    assert run("probe", "--calibrate", "shapes", "--folder", folder)[0] == 130
    assert len(json.loads((folder / "measurements.json").read_text())) == 1


def test_a_device_in_use_is_not_measured(run: Run, folder: Path) -> None:
    holder = DeviceLock("cpu", folder.parent)
    assert holder.try_acquire()
    code, _, err = run("probe", "--calibrate", "--folder", folder)
    holder.release()
    assert code == 1
    assert "cannot be measured now: another farm, process" in err


def test_a_model_that_is_not_there_is_told(run: Run, folder: Path) -> None:
    code, _, err = run("probe", "--calibrate", "nothing", "--folder", folder)
    assert code == 1
    assert "nothing" in err
