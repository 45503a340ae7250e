import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.worker.memory import Gauge, Usage, read_status, usage

STATUS = "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t   600 kB\nVmRSS:\t   500 kB\nThreads:\t3\n"


def gauge(*uses: tuple[int, int]) -> Gauge:
    told: Iterator[Usage] = iter([Usage(*use) for use in uses])
    return Gauge(lambda: next(told))


def test_linux_tells_what_is_resident_and_what_was() -> None:
    assert read_status(STATUS) == Usage(500 * 1024, 600 * 1024)
    assert read_status("") == Usage(0, 0)


@given(st.text())
def test_no_status_makes_it_raise(text: str) -> None:
    assert read_status(f"VmRSS: {text}").now >= 0


def test_a_peak_that_falls_into_the_time_is_the_answer_however_short_it_was() -> None:
    measured = gauge((10, 20), (15, 90), (11, 90))
    assert (measured.look(), measured.look()) == (90, 90)


def test_an_older_peak_does_not_count_but_what_was_seen_does() -> None:
    measured = gauge((10, 500), (40, 500), (30, 500))
    assert (measured.look(), measured.look()) == (40, 40)


def test_this_process_uses_memory_and_more_when_it_takes_some() -> None:
    measured = Gauge()
    before = usage()
    held = bytearray(b"x" * (256 << 20))
    assert measured.look() >= before.now + len(held) // 2
    assert usage().most >= usage().now > 0


@pytest.mark.macos
def test_a_mac_tells_its_footprint() -> None:
    assert sys.platform == "darwin"
    assert 0 < usage().now <= usage().most < 64 << 30
