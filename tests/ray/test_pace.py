"""When the silence of a worker is its machine's doing and when it is a defect."""

import time
from pathlib import Path

import pytest

from tests.ray.batch import TOO_SLOW, had_no_time_to_speak, logged_at
from tests.ray.pace import PERIOD_SECONDS, WORK_SECONDS, Pace
from tests.waiting import until

LOST = "2026-03-01 12:00:10,000 WARNING attempt.abandoned job=j attempt=1 worker=one images=0-9 reason='{}'"
SILENT = LOST.format("not heard of for 6 s")
END = logged_at(SILENT)


def pace(folder: Path, slowness: float, end: float = END) -> Pace:
    """What is written of half a minute in which the machine was so slow all the time."""
    times = [end - 30 + PERIOD_SECONDS * number for number in range(round(30 / PERIOD_SECONDS))]
    (folder / "pace.log").write_text("".join(f"{at} {slowness * WORK_SECONDS} {WORK_SECONDS}\n" for at in times))
    return Pace(folder / "pace.log")


@pytest.mark.parametrize(("slowness", "excused"), [(1.0, False), (TOO_SLOW - 0.1, False), (TOO_SLOW + 0.1, True)])
def test_silence_is_excused_on_a_machine_that_has_no_time_for_anybody(
    tmp_path: Path, slowness: float, excused: bool
) -> None:
    assert had_no_time_to_speak(SILENT, [], pace(tmp_path, slowness)) is excused


def test_a_machine_that_was_slow_long_before_is_no_excuse(tmp_path: Path) -> None:
    slow = pace(tmp_path, 50.0, END - 10).log.read_text()
    log = pace(tmp_path, 1.0).log
    log.write_text(slow + log.read_text())
    assert not had_no_time_to_speak(SILENT, [], Pace(log))


def test_silence_is_excused_while_the_coordinator_stands_still_itself(tmp_path: Path) -> None:
    jumped = "2026-03-01 12:00:{},000 WARNING loop.clock_jumped seconds=5.0"
    quiet = pace(tmp_path, 1.0)
    assert had_no_time_to_speak(SILENT, [jumped.format("08")], quiet)
    assert not had_no_time_to_speak(SILENT, [jumped.format("01")], quiet)


def test_nothing_but_silence_is_excused(tmp_path: Path) -> None:
    assert not had_no_time_to_speak(LOST.format("its daemon ended"), [], pace(tmp_path, 50.0))


def test_the_pace_of_this_machine_is_measured_as_long_as_it_is_asked_for(tmp_path: Path) -> None:
    measured = Pace(tmp_path / "pace.log")
    began = time.time()
    with measured.measured():
        until(lambda: len(measured.log.read_text().splitlines()) >= 3, "nothing is measured")
    assert 0.9 < measured.slowness(began, time.time()) < 1000
    assert measured.slowness(0.0, began) == float("inf")
