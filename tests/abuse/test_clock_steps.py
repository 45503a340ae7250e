"""The wall clock is set forth and back under a real coordinator: its job goes on, and no attempt is taken for lost."""

from functools import partial
from pathlib import Path

import pytest

from farm import Client, Job
from tests.abuse.processes import coordinator
from tests.waiting import eventually

LIBRARIES = sorted(Path("/").glob("usr/lib*/**/faketime/libfaketimeMT.so.1"))
HOUR = 3600


class WallClock:
    """What libfaketime shows a process as the time of day; monotonic clocks are left alone."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set_off(0)

    def set_off(self, seconds: int) -> None:
        """Shows the time that it is, and so many seconds more."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{seconds:+d}\n")
        temporary.rename(self._file)


def has_jumped(log: Path, times: int) -> bool:
    return log.read_text().count("loop.clock_jumped") >= times


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not there (Debian: apt install faketime)")
def test_a_job_goes_on_when_the_clock_is_set_forth_and_back(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock", LIBRARIES[0])
    with (
        coordinator(tmp_path / "state", environment=clock.environment) as process,
        Client(process.address) as client,
    ):
        job = client.submit(["a red circle"] * 10_000, steps=2)
        committed_count = 0
        for times, seconds in enumerate((HOUR, -HOUR, 0), 1):
            committed_count = goes_on(job, committed_count)
            clock.set_off(seconds)
            assert eventually(partial(has_jumped, process.log, times))
        committed_count = goes_on(job, committed_count)
        job.cancel().wait()
        indices = [image.index for image in job.images() if image.sha256]
        assert len(indices) >= committed_count
        assert sorted(indices) == list(range(len(indices))), "an image was left out or rendered twice"
        assert "not heard of" not in process.log.read_text()
        process.kill()  # in order it stops by waiting with clock_nanosleep, which libfaketime breaks


def goes_on(job: Job, committed_count: int) -> int:
    """Waits until some more images are committed than so many, and gives their number."""
    assert eventually(lambda: job.refresh().message.succeeded_count > committed_count + 5)
    return job.message.succeeded_count
