"""The daemon with a real renderer, outbox and socket; the test is the bridge and what is behind it."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from farm.carrier.messages import (
    Acknowledge,
    Beat,
    Cancel,
    Farewell,
    FromDaemon,
    Hello,
    Message,
    Refusal,
    Refused,
    Release,
    Replaced,
    Told,
    decode,
    encode,
)
from farm.domain import AttemptKey, AttemptState, ComputeUnit, Resident
from farm.errors import FarmError, VersionMismatchError, WorkerNameTakenError
from farm.renderer import Renderer
from farm.reports import AttemptReport, ImageReport, MeasurementReport, ResidencyReport, StepReport
from farm.worker.bridge_socket import listen
from farm.worker.daemon import Daemon, Inbox
from farm.worker.messages import Stop
from farm.worker.null_renderer import NullRenderer
from farm.worker.outbox import LIMIT_BYTES, Outbox
from farm.worker.pipeline_host import PipelineHost
from tests.waiting import PATIENCE, eventually
from tests.worker.builders import NoRuntime, assignment, model

Said = TypeVar("Said", bound=FromDaemon)


class Bridge:
    """A connection to the daemon, as a bridge has it."""

    def __init__(self, socket: Path) -> None:
        self._connection: Connection = Client(str(socket))
        self.heard: list[Message] = []

    def say(self, message: Message) -> None:
        self.say_bytes(encode(message))

    def say_bytes(self, data: bytes) -> None:
        self._connection.send_bytes(data)

    def next(self, kind: type[Said], holds: Callable[[Said], object] = lambda _: True) -> Said:
        """Waits for the next message of a kind for which something holds."""
        while True:
            assert self._connection.poll(PATIENCE), f"no {kind.__name__} came; there were {self.heard}"
            message = decode(self._connection.recv_bytes())
            self.heard.append(message)
            if isinstance(message, kind) and holds(message):
                return message

    def end_of(self, number: int) -> Told:
        return self.next(Told, lambda t: isinstance(t.report, AttemptReport) and t.report.key.number == number)

    def images(self) -> list[int]:
        """Indices of the images that were heard of, in order."""
        return [t.report.index for t in self.heard if isinstance(t, Told) and isinstance(t.report, ImageReport)]

    def acknowledge_all(self) -> None:
        for told in self.heard:
            if isinstance(told, Told) and told.number is not None:
                self.say(Acknowledge(told.number))

    def close(self) -> None:
        self._connection.close()


class Running:
    """A daemon on a thread, with a socket."""

    def __init__(
        self,
        folder: Path,
        seconds_per_image: float = 0.0,
        limit_bytes: int = LIMIT_BYTES,
        renderer: Renderer | None = None,
    ) -> None:
        self.socket = folder / "socket"
        self.outbox = folder / "outbox"
        self._inbox: Inbox = queue.SimpleQueue()
        renderer = renderer or NullRenderer(seconds_per_image=seconds_per_image, report_steps=True)
        daemon = Daemon("w", "folder", renderer, Outbox(self.outbox, limit_bytes), self._inbox)
        self._listener = listen(self.socket, self._inbox.put)
        self._thread = threading.Thread(target=daemon.run, daemon=True)
        self._thread.start()

    def bridge(self) -> tuple[Bridge, Hello]:
        bridge = Bridge(self.socket)
        return bridge, bridge.next(Hello)

    def kept(self) -> list[Path]:
        """Files of what nobody has taken."""
        return list(self.outbox.glob("*.report"))

    def stop(self) -> None:
        self._inbox.put(Stop())
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._listener.close()


@contextmanager
def daemon(folder: Path, seconds_per_image: float = 0.0, limit_bytes: int = LIMIT_BYTES) -> Iterator[Running]:
    running = Running(folder, seconds_per_image, limit_bytes)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")  # paths of sockets must be short


@pytest.fixture(autouse=True)
def _quick_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most daemons here are stopped with a bridge that takes nothing."""
    monkeypatch.setattr("farm.worker.daemon.STOP_SECONDS", 0.3)


def test_a_bridge_is_greeted_with_what_the_worker_is_and_hears_that_it_lives(folder: Path) -> None:
    with daemon(folder) as running:
        bridge, hello = running.bridge()
        assert (hello.worker_id, hello.attempts) == ("w", frozenset())
        assert hello.facts.runtime == "null"
        bridge.next(Beat)


def test_what_is_finished_is_offered_to_each_new_bridge_until_it_is_acknowledged(folder: Path) -> None:
    with daemon(folder) as running:
        first, _ = running.bridge()
        first.say(assignment(1, "a", "b"))
        first.end_of(1)
        first.close()
        second, hello = running.bridge()
        assert hello.attempts == {AttemptKey("job", 1)}
        second.end_of(1)
        assert second.images() == [10, 11]
        second.acknowledge_all()
        second.say(assignment(2))  # what is said before it was taken in when this one ends
        second.end_of(2)
        second.acknowledge_all()
        second.say(assignment(3))
        second.end_of(3)
        third, hello = running.bridge()
        assert hello.attempts == {AttemptKey("job", 3)}
        third.end_of(3)
        assert third.images() == [30]


def test_the_newest_bridge_counts_and_the_one_before_is_closed(folder: Path) -> None:
    with daemon(folder) as running:
        old, _ = running.bridge()
        new, _ = running.bridge()
        old.next(Replaced)
        with pytest.raises((EOFError, ConnectionError)):
            old.next(Farewell)
        new.say(assignment(1))
        new.end_of(1)


def test_a_bridge_that_says_what_cannot_be_read_is_closed_and_the_next_one_is_heard(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with daemon(folder) as running:
        bridge, _ = running.bridge()
        bridge.say_bytes(msgspec.msgpack.encode(("Assignment", None, {"of": "another version"})))
        with pytest.raises((EOFError, ConnectionError)):
            bridge.next(Farewell)
        assert "another version of the farm" in caplog.text
        second, _ = running.bridge()
        second.say(assignment(1))
        second.end_of(1)


def test_rendering_goes_on_without_a_bridge(folder: Path) -> None:
    with daemon(folder, seconds_per_image=0.05) as running:
        first, _ = running.bridge()
        first.say(assignment(1, "a", "b", "c"))
        first.next(Told, lambda t: isinstance(t.report, StepReport))
        first.close()
        second, hello = running.bridge()
        assert hello.attempts == {AttemptKey("job", 1)}
        second.end_of(1)
        assert second.images() == [10, 11, 12]


def test_a_daemon_whose_outbox_is_full_keeps_what_fits_and_gives_back_the_rest_with_the_reason(folder: Path) -> None:
    with daemon(folder, seconds_per_image=0.02, limit_bytes=3000) as running:
        first, _ = running.bridge()
        first.say(assignment(1, *["a"] * 50))
        first.next(Told, lambda t: isinstance(t.report, StepReport))
        first.close()
        assert eventually(lambda: b"AttemptReport" in b"".join(path.read_bytes() for path in running.kept()))
        second, _ = running.bridge()
        end = second.end_of(1).report
        assert isinstance(end, AttemptReport)
        assert end.state is AttemptState.ABANDONED
        assert "the outbox holds" in end.reason
        assert 0 < len(second.images()) < 50
        assert second.images() == list(range(10, 10 + len(second.images())))


@pytest.fixture
def _quick_to_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.worker.daemon.BEAT_SECONDS", 0.05)


@pytest.mark.usefixtures("_quick_to_beat")
def test_an_attempt_whose_end_is_damaged_on_disk_ends_all_the_same(folder: Path) -> None:
    with daemon(folder) as running:
        first, _ = running.bridge()
        first.say(assignment(1))
        first.end_of(1)
        first.close()
        max(running.kept()).write_bytes(b"torn")
        second, hello = running.bridge()
        assert hello.attempts == {AttemptKey("job", 1)}
        end = second.end_of(1).report
        assert isinstance(end, AttemptReport)
        assert (end.state, end.reason) == (AttemptState.ABANDONED, "the worker's disk lost how they ended")
        assert second.images() == [10]


@pytest.mark.usefixtures("_quick_to_beat")
def test_a_report_that_cannot_be_read_for_a_while_is_delivered_in_its_turn_once_it_can(folder: Path) -> None:
    with daemon(folder) as running:
        first, _ = running.bridge()
        first.say(assignment(1))
        first.end_of(1)
        first.close()
        image = min(running.kept())
        aside = image.rename(folder / "aside")
        image.symlink_to(folder)  # nobody reads a folder, not even root
        second, _ = running.bridge()
        second.next(Beat)
        second.next(Beat)
        aside.replace(image)  # at once: a file that is gone would count as lost
        end = second.end_of(1).report
        assert isinstance(end, AttemptReport)
        assert (end.state, second.images()) == (AttemptState.SUCCEEDED, [10])


@pytest.mark.usefixtures("_quick_to_beat")
def test_a_report_that_can_never_be_read_is_given_up_and_its_attempt_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.worker.daemon.UNREADABLE_SECONDS", 0.1)
    with daemon(folder) as running:
        first, _ = running.bridge()
        first.say(assignment(1))
        first.end_of(1)
        first.close()
        end = max(running.kept())
        end.unlink()
        end.mkdir()
        second, _ = running.bridge()
        report = second.end_of(1).report
        assert isinstance(report, AttemptReport)
        assert report.state is AttemptState.ABANDONED


def test_an_attempt_that_comes_twice_is_rendered_once(folder: Path) -> None:
    with daemon(folder, seconds_per_image=0.05) as running:
        bridge, _ = running.bridge()
        for given in (assignment(1), assignment(1), assignment(2)):
            bridge.say(given)
        bridge.end_of(2)
        assert bridge.images() == [10, 20]


def test_attempts_are_cancelled_and_given_back_as_the_coordinator_says(folder: Path) -> None:
    with daemon(folder, seconds_per_image=0.2) as running:
        bridge, _ = running.bridge()
        for number, order in ((1, Cancel(AttemptKey("job", 1))), (2, Release(AttemptKey("job", 2)))):
            bridge.say(assignment(number, *["a"] * 50))
            bridge.next(Told, lambda t, n=number: isinstance(t.report, StepReport) and t.report.key.number == n)  # type: ignore[misc]  # mypy does not infer a lambda's default
            bridge.say(order)
        ends = [bridge.heard[-1], bridge.end_of(2)]
        reports = [t.report for t in bridge.heard if isinstance(t, Told) and isinstance(t.report, AttemptReport)]
        assert [report.state for report in reports] == [AttemptState.CANCELLED, AttemptState.ABANDONED], ends


def test_a_bridge_learns_which_models_are_loaded(folder: Path) -> None:
    with daemon(folder) as running:
        first, _ = running.bridge()
        first.say(assignment(1))
        first.end_of(1)
        second, _ = running.bridge()
        told = second.next(Told)
        assert told == Told(ResidencyReport((Resident("scripted", "sha256:1", ComputeUnit.CPU_ONLY),)))


def test_what_is_measured_is_told_at_once_and_again_to_each_new_bridge(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_LOCKS", str(folder))
    host = PipelineHost([model()], NoRuntime(), pipeline="tests.worker.pipelines:scripted")
    running = Running(folder, renderer=host)
    try:
        bridge, hello = running.bridge()
        assert hello.facts.measurements == ()
        bridge.say(assignment(1))
        told = bridge.next(Told, lambda t: isinstance(t.report, MeasurementReport))
        assert isinstance(told.report, MeasurementReport)
        measured = hello.facts.with_measurement(told.report.measurement)
        assert measured.measurements[0].was_loaded
        _, greeting = running.bridge()
        assert [one.digest for one in greeting.facts.measurements] == [one.digest for one in measured.measurements]
        assert greeting.facts.measurements[0].first_load_seconds == measured.measurements[0].first_load_seconds
    finally:
        running.stop()


def test_a_daemon_whose_last_process_died_delivers_what_that_finished_and_gives_back_the_rest(folder: Path) -> None:
    left = Outbox(folder / "outbox")
    with daemon(folder / "other") as running:
        bridge, _ = running.bridge()
        bridge.say(assignment(1, "a"))
        image = bridge.next(Told, lambda t: isinstance(t.report, ImageReport)).report
    assert isinstance(image, ImageReport)
    left.put(image)
    with daemon(folder) as running:
        bridge, hello = running.bridge()
        assert hello.attempts == {image.key}
        end = bridge.end_of(1).report
        assert isinstance(end, AttemptReport)
        assert end.state is AttemptState.ABANDONED
        assert bridge.images() == [image.index]


def test_a_daemon_that_is_stopped_ends_its_attempts_and_says_farewell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.worker.daemon.STOP_SECONDS", PATIENCE)  # here the bridge does take it
    running = Running(folder, seconds_per_image=60)
    bridge, _ = running.bridge()
    bridge.say(assignment(1, steps=1000))
    bridge.next(Told, lambda t: isinstance(t.report, StepReport))
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    end = bridge.end_of(1).report
    assert isinstance(end, AttemptReport)
    assert (end.state, end.reason) == (AttemptState.ABANDONED, "the worker was stopped")
    bridge.acknowledge_all()
    bridge.next(Farewell)
    stopping.join()
    assert list(running.outbox.iterdir()) == []


def test_a_daemon_that_is_stopped_without_a_bridge_keeps_what_is_finished(folder: Path) -> None:
    with daemon(folder) as running:
        bridge, _ = running.bridge()
        bridge.say(assignment(1))
        bridge.end_of(1)
        bridge.close()
    with daemon(folder) as running:
        bridge, hello = running.bridge()
        assert hello.attempts == {AttemptKey("job", 1)}
        bridge.end_of(1)
        assert bridge.images() == [10]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(Refusal.NAME_TAKEN, WorkerNameTakenError), (Refusal.VERSION_MISMATCH, VersionMismatchError)],
)
def test_a_daemon_that_is_refused_ends_with_the_reason(folder: Path, refusal: Refusal, error: type[FarmError]) -> None:
    inbox: Inbox = queue.SimpleQueue()
    daemon = Daemon("w", "folder", NullRenderer(), Outbox(folder / "outbox"), inbox)
    with listen(folder / "socket", inbox.put), ThreadPoolExecutor() as thread:
        running = thread.submit(daemon.run)
        bridge = Bridge(folder / "socket")
        assert bridge.next(Hello).origin == "folder"
        bridge.say(Refused("do this", refusal))
        with pytest.raises(error, match="do this"):
            running.result(PATIENCE)
