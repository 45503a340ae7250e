from dataclasses import replace
from pathlib import Path

import pytest

from farm.domain import ComputeUnit, Measurement, Model
from farm.worker.measurements import MeasurementFile, circumstances
from farm.worker.probe import Machine
from farm.worker.probe.machine import read_mac
from tests.worker.builders import model, variant
from tests.worker.probe.printers import Mac

MAC = read_mac(Mac("Apple M2 Pro", 19).outputs())
MEASURED = Measurement("sha256:1", ComputeUnit.CPU_AND_NE, 0.4, 0.6, 15.0, 100.0, 2 << 30, 0.01)
FAILED = Measurement("sha256:1", ComputeUnit.CPU_AND_GPU, failure="the process was ended by signal 6")


def open_file(path: Path, machine: Machine = MAC, runtime: str = "coreml", of: Model | None = None) -> MeasurementFile:
    return MeasurementFile(path, circumstances(machine, runtime), [of or model()])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept = tmp_path / "worker" / "measurements.json"
    open_file(kept).keep([MEASURED, FAILED])
    return kept


def test_what_was_kept_is_known_again(path: Path) -> None:
    assert open_file(path).known() == (MEASURED, FAILED)


@pytest.mark.parametrize(
    "machine",
    [
        replace(MAC, os="macOS 26.2 (25C56)"),
        replace(MAC, chip="Apple M2 Max"),
        replace(MAC, gpu_cores=16),
        replace(MAC, memory_bytes=16 << 30),
    ],
)
def test_it_does_not_hold_for_another_machine_or_system(path: Path, machine: Machine) -> None:
    assert open_file(path, machine).known() == ()


def test_a_mac_that_does_not_say_its_build_keeps_nothing_as_it_would_outlive_an_update(path: Path) -> None:
    nameless = replace(MAC, os="macOS 26.2", build="")
    open_file(path, nameless).keep([MEASURED])
    assert open_file(path, nameless).known() == ()
    assert open_file(path).known() == (MEASURED, FAILED)


def test_it_does_not_hold_for_another_runtime_model_or_size(path: Path) -> None:
    assert open_file(path, runtime="portable").known() == ()
    assert open_file(path, of=model(variant("sha256:2"))).known() == ()
    assert open_file(path, of=model(replace(variant(), width=16))).known() == ()


def test_what_holds_elsewhere_is_left_as_it_is(path: Path) -> None:
    elsewhere = replace(MAC, os="macOS 26.2 (25C56)")
    open_file(path, elsewhere).keep([replace(MEASURED, seconds_per_step=0.3)])
    open_file(path, of=model(variant("sha256:2"))).keep([replace(MEASURED, digest="sha256:2")])
    assert open_file(path).known() == (MEASURED, FAILED)
    assert open_file(path, elsewhere).known()[0].seconds_per_step == 0.3


@pytest.mark.parametrize("damage", ["", "[", "[1]", '[{"measurement": 3}]', "\0"])
def test_a_damaged_file_is_as_good_as_none_and_is_made_anew(path: Path, damage: str) -> None:
    path.write_text(damage)
    assert open_file(path).known() == ()
    open_file(path).keep([MEASURED])
    assert open_file(path).known() == (MEASURED,)


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    file = open_file(tmp_path / "taken" / "measurements.json")
    file.keep([MEASURED])
    assert file.known() == (MEASURED,)
