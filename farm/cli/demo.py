"""`farm demo`: a whole farm for the length of one batch."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import farm
from farm.access.access import FOLDER
from farm.access.tokens import LOCAL_FILE
from farm.cli.entries import Batch, file_source
from farm.cli.jobs import pull_job
from farm.cli.options import json_option, null_renderer_option
from farm.cli.outcome import describe_end, exit_code
from farm.cli.output import console
from farm.cli.progress import follow
from farm.cli.submit import send
from farm.client import Client
from farm.errors import FarmError, UnreachableError
from farm.output_folder import check_output_folder, clear_output_folder
from farm.scratch import scratch_folder

SAMPLE_BATCH = Path(farm.__file__).parent / "assets" / "prompts.jsonl"
"""The batch of `examples/`, which is linked into the package so that an installed wheel has it too."""

STOP_SECONDS = 10.0

OUT = Path("out/demo")
"""Where images lie if nobody says otherwise: the demo's own folder, in which each demo replaces the one before."""

LOG_LINES = 20


@click.command(
    epilog="""\b
Examples:
  farm demo
  farm demo my-prompts.txt --out out/mine"""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=SAMPLE_BATCH, metavar="[FILE]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=OUT,
    show_default=True,
    help="Folder for the images.",
)
@null_renderer_option
@json_option
@click.pass_context
def demo(context: click.Context, /, file: Path, out: Path, null_renderer: bool, as_json: bool) -> None:
    """Start a farm, render the sample batch (or FILE), and stop the farm again.

    The farm listens on a free port of this machine only, keeps its state in a temporary folder, and uses the same parts
    as any other: gRPC, journal, scheduler, pipeline process. Only the images are left afterwards, even if it is
    interrupted.
    """
    screen = console(error=as_json)
    source = file_source(str(file), "txt", context)
    for _ in Batch(source):  # a batch that is wrong is told before a farm is started for it
        pass
    if out == OUT:
        clear_output_folder(out)
    check_output_folder(out)
    with scratch_folder("farm-demo") as state, farm_process(state, null_renderer) as process:
        with screen.status("Starting a farm on this machine ..."):
            address = read_address(process, state)
        screen.print(f"A farm runs on this machine at {address}. Rendering {file.name} ...")
        with end_told(process, state), _client(address, state) as client:
            job = send(client, source, {"display_name": file.stem})
            follow(job, screen)
            click.echo(describe_end(job), err=as_json)
            pull_job(job, out, as_json=as_json)
    sys.exit(exit_code(job))


@contextmanager
def end_told(process: subprocess.Popen[bytes], state: Path) -> Iterator[None]:
    """Tells a farm that cannot be reached because its process ended by the end of that process's log.

    Raises:
        FarmError: It ended.
    """
    try:
        yield
    except UnreachableError:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may be ending just now
            process.wait(1)
        if process.poll() is None:
            raise
        raise FarmError(
            f"The demo's farm ended unexpectedly (exit code {process.returncode}), and so does the demo. "
            f"The end of its log:\n{end_of_log(state)}"
        ) from None


@contextmanager
def farm_process(state: Path, null_renderer: bool, web_listen: str = "none") -> Iterator[subprocess.Popen[bytes]]:
    """A coordinator in a process of its own, which ends with the block, and also if this process dies in any way.

    It is this Python with the same modules, whatever folder it runs in. It leads a session of its own, so that Ctrl-C
    reaches this process alone, which then stops it in order: it stops when its standard input ends. A second Ctrl-C,
    or more than `STOP_SECONDS`, kills it.
    """
    options = [
        "--address",
        "127.0.0.1:0",
        "--web-listen",
        web_listen,
        "--state",
        str(state),
        "--stop-with-stdin",
        "--json",
    ]
    options += ["--null-renderer"] if null_renderer else []
    command = [sys.executable, "-P", "-m", "farm", "coordinator", *options]
    with log_file(state).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    assert process.stdin
    assert process.stdout
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        process.stdout.close()


def _client(address: str, state: Path) -> Client:
    """Calls this farm with its own token, whatever FARM_TOKEN is for. Nobody would start it again: there is no wait."""
    return Client(address, token=(state / FOLDER / LOCAL_FILE).read_text(), patience_seconds=0.0)


def log_file(state: Path) -> Path:
    """Where the coordinator of a demo logs."""
    return state / "coordinator.log"


def end_of_log(state: Path) -> str:
    """The last lines that the coordinator logged."""
    return "\n".join(log_file(state).read_text(errors="replace").splitlines()[-LOG_LINES:])


def read_address(process: subprocess.Popen[bytes], state: Path) -> str:
    """Where the coordinator listens, once it does.

    Raises:
        FarmError: It ended instead.
    """
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise FarmError(f"The farm could not be started:\n{end_of_log(state)}")
    return str(json.loads(line)["address"])
