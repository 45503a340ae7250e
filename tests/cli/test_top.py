"""`farm top` against a real farm, by textual's pilot, and what it says of a picture."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from textual.pilot import Pilot

from farm.access.tokens import Role
from farm.cli.terminal.app import Top
from farm.cli.terminal.dialogs import Help, Question
from farm.cli.terminal.picture import Throughput, job_row, look, throughputs, worker_row
from farm.client import AsyncClient, Client, Job
from farm.client.shared import KnownJob
from farm.domain import JobState
from farm.errors import FarmError, UnauthenticatedError
from farm.v1 import job_pb2, worker_pb2
from tests.cli.conftest import runner
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE, eventually


@pytest.fixture(scope="module")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    """A farm whose images take long enough to be looked at."""
    with running_farm(tmp_path_factory.mktemp("top") / "state", seconds_per_image=0.2) as farm:
        yield farm


@pytest.fixture
def job(slow_farm: RunningFarm) -> Iterator[Job]:
    """A job that is live as long as its test."""
    with Client(slow_farm.address) as client:
        submitted = client.submit(["a red circle"] * 1000, display_name="circles [/b]")
        yield submitted
        submitted.refresh()
        if not submitted.state.is_final:
            submitted.cancel()
        submitted.wait()


@asynccontextmanager
async def screen_of(address: str) -> AsyncIterator[Pilot[FarmError]]:
    """The screen, on a terminal of 80 by 24."""
    async with AsyncClient(address) as client:
        screen = Top(client, await look(client, ""))
        async with screen.run_test(size=(80, 24)) as pilot:
            yield pilot


async def until(pilot: Pilot[FarmError], holds: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, shown(pilot)
        await pilot.pause(0.05)


def shown(pilot: Pilot[FarmError]) -> str:
    """What stands on the screen, as text."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips)


async def answer(pilot: Pilot[FarmError], key: str, answer: str) -> None:
    """Presses a key that asks, and answers."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Question))
    await pilot.press(answer)
    await until(pilot, lambda: not isinstance(pilot.app.screen, Question))


def said(pilot: Pilot[FarmError]) -> list[str]:
    return [notification.message for notification in pilot.app._notifications]


async def test_it_shows_machines_jobs_reasons_and_throughput(slow_farm: RunningFarm, job: Job) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await until(pilot, lambda: "1 of 1 rendering" in shown(pilot) and "renders it now" in shown(pilot))
        screen = shown(pilot)
    assert len(screen.splitlines()) == 24
    for text in (
        slow_farm.address,
        "1 job live",
        "circles [/b]",
        "/1000",
        job.name,
        "null renderer",
        "CPU",
        "images/min",
    ):
        assert text in screen


async def test_a_job_is_paused_and_resumed_by_a_key(slow_farm: RunningFarm, job: Job) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: job.refresh().state is JobState.PAUSED and "paused" in shown(pilot))
        await pilot.press("r")
        await until(pilot, lambda: job.refresh().state is JobState.RUNNING)
        await pilot.press("r")  # nothing to resume, and no harm
        await until(pilot, lambda: len(said(pilot)) >= 3)


async def test_a_job_is_cancelled_once_its_user_says_yes_and_its_end_is_told(slow_farm: RunningFarm, job: Job) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await answer(pilot, "c", "y")
        await until(pilot, lambda: any(re.search(r"cancelled.*: \d+ of 1000 images", text) for text in said(pilot)))
        await until(pilot, lambda: "No job is live" in shown(pilot))


async def test_a_question_that_is_denied_changes_nothing(slow_farm: RunningFarm, job: Job) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await answer(pilot, "c", "n")
        await answer(pilot, "d", "escape")
    assert eventually(lambda: job.refresh().state is JobState.RUNNING)
    with Client(slow_farm.address) as client:
        assert next(client.workers()).state == worker_pb2.WORKER_STATE_ACTIVE


async def test_a_worker_is_drained_once_its_user_says_yes_and_resumed(slow_farm: RunningFarm) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await answer(pilot, "d", "y")
        await until(pilot, lambda: re.search(r"local +draining", shown(pilot)))
        await pilot.press("u")
        await until(pilot, lambda: "local is active" in said(pilot))


async def test_the_other_table_shows_all_about_its_worker(slow_farm: RunningFarm) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: "workers/local" in shown(pilot))
        assert "8 GiB" in shown(pilot)
        assert "heard of" in shown(pilot)


async def test_the_help_names_every_key_of_the_footer(slow_farm: RunningFarm) -> None:
    async with screen_of(slow_farm.address) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        lines = shown(pilot).splitlines()
        for word in ("pause", "resume", "cancel", "drain", "quit"):
            assert any(word in line for line in lines), word
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Help))


async def test_it_waits_for_a_farm_that_is_restarted(tmp_path: Path) -> None:
    with ExitStack() as before:
        address = before.enter_context(running_farm(tmp_path / "state")).address
        async with screen_of(address) as pilot:
            before.close()
            await until(pilot, lambda: "reconnecting" in shown(pilot))
            assert "null renderer" in shown(pilot)  # what was last known stays
            with running_farm(tmp_path / "state", address=address):
                await until(pilot, lambda: "workers rendering" in shown(pilot))


async def test_a_caller_who_is_let_in_no_more_is_told_so(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state") as farm:
        async with AsyncClient(farm.address) as client:
            made = await client.create_token(Role.ADMIN, "visitor")
        async with AsyncClient(farm.address, token=made.secret) as client:
            screen = Top(client, await look(client, ""))
            async with screen.run_test():
                await client.revoke_token(made.token.name)
                async with asyncio.timeout(PATIENCE):
                    while screen.return_value is None:
                        await asyncio.sleep(0.05)
            assert isinstance(screen.return_value, UnauthenticatedError)


def terminal_run(farm: RunningFarm | None, *, keys: bytes = b"", stop: signal.Signals | None = None) -> tuple[int, str]:
    """Runs `farm top` on a terminal; gives its exit code and all that it drew."""
    leader, follower = pty.openpty()
    address = farm.address if farm else "127.0.0.1:1"
    environment = {
        **os.environ,
        "FARM_ADDRESS": address,
        "TERM": "xterm-256color",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "farm", "top"], stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    drawn = b""
    with suppress(OSError):  # its end
        while part := os.read(leader, 1 << 16):
            drawn += part
            if b"workers rendering" in drawn and (keys or stop):
                os.write(leader, keys)
                if stop:
                    process.send_signal(stop)
                keys, stop = b"", None
    os.close(leader)
    return process.wait(PATIENCE), drawn.decode()


@pytest.mark.parametrize(("keys", "stop"), [(b"q", None), (b"", signal.SIGTERM)])
def test_leaving_gives_the_terminal_back(slow_farm: RunningFarm, keys: bytes, stop: signal.Signals | None) -> None:
    code, drawn = terminal_run(slow_farm, keys=keys, stop=stop)
    assert code == 0
    assert drawn.rfind("\x1b[?1049l") > drawn.rfind("\x1b[?1049h") >= 0, "the other screen is still there"


def test_without_a_farm_it_says_what_every_command_says() -> None:
    code, drawn = terminal_run(None)
    assert code == 1
    assert "127.0.0.1:1" in drawn
    assert "\x1b[?1049h" not in drawn


def test_without_a_terminal_it_names_the_commands_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = runner(capsys)("top")
    assert code == 2
    assert "farm jobs --json" in err


def test_a_jobs_line_has_its_progress_and_when_it_ends() -> None:
    message = job_pb2.Job(
        name="jobs/a", image_count=30, succeeded_count=11, failed_count=1, state=job_pb2.JOB_STATE_RUNNING
    )
    assert job_row(KnownJob(message), now=1000.0) == ("a", "running", "11/30, 1 failed", "40 %", "not known yet")
    for name, seconds in (("earliest", 990), ("likely", 1070), ("latest", 4700)):
        getattr(message.eta, name).FromSeconds(seconds)
    assert job_row(KnownJob(message), now=1000.0)[-1] == "0:01:10 (0:00:00 to 1:01:40)"


def test_throughput_is_of_those_that_render_by_class() -> None:
    workers = [
        worker_pb2.Worker(chip_class=chip_class, images_per_hour=rate, current_attempt=attempt)
        for chip_class, rate, attempt in (
            (job_pb2.CHIP_CLASS_GPU, 600, "jobs/a/attempts/1"),
            (job_pb2.CHIP_CLASS_GPU, 300, ""),
            (job_pb2.CHIP_CLASS_GPU, 120, "jobs/a/attempts/2"),
            (job_pb2.CHIP_CLASS_ANE, 60, ""),
        )
    ]
    assert throughputs(workers) == [Throughput("ANE", 1, 0, 0.0), Throughput("GPU", 3, 2, 720.0)]


def test_a_line_says_what_a_worker_renders_or_why_it_does_not() -> None:
    worker = worker_pb2.Worker(name="workers/one", state=worker_pb2.WORKER_STATE_SUSPENDED, reason="its user is back")
    assert worker_row(worker, {})[-1] == "its user is back"
    worker.current_attempt = "jobs/a/attempts/7"
    assert worker_row(worker, {})[-1] == "a, attempt 7; its user is back"


def test_a_worker_that_is_slow_for_its_chip_is_said_to_be() -> None:
    worker = worker_pb2.Worker(name="workers/one", relative_speed=0.55)
    assert worker_row(worker, {})[-1] == "renders at 55% of its chip's usual speed"
    worker.relative_speed = 0.95
    assert worker_row(worker, {})[-1] == "-"
