"""`farm worker`: what is run on the machine that renders."""

import logging
import signal
import socket
from pathlib import Path
from queue import SimpleQueue

import click

from farm.carrier.security import RaySecurity, ray_token
from farm.catalogue import Catalogue
from farm.cli.logs import log_to_stderr
from farm.cli.options import null_renderer_option, ray_address_option, state_option
from farm.cli.renderer import make_renderer
from farm.cli.signals import stop_signals
from farm.cli.stdin import when_stdin_ends


@click.group(epilog="Example: farm worker run --ray-address 127.0.0.1:7434 --name studio-3")
def worker() -> None:
    """Run a worker on this machine."""


def default_folder() -> Path:
    """Where a worker keeps what it has finished, if nobody says otherwise."""
    import platformdirs

    return platformdirs.user_data_path("mac-render-farm") / "worker"


@worker.command(epilog="Example: farm worker run --ray-address 127.0.0.1:7434 --name studio-3")
@ray_address_option
@click.option("--name", default=socket.gethostname, help="This worker's name in the farm.  [default: the host's name]")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_folder,
    help="Folder of finished images that are not delivered yet.  [default: in your user's data folder]",
)
@state_option
@null_renderer_option
@click.option(
    "--null-seconds", type=float, default=0.0, hidden=True, help="Seconds that the null renderer takes for an image."
)
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as it does when the parent process dies."
)
def run(
    ray_address: str,
    name: str,
    folder: Path,
    state: Path,
    null_renderer: bool,
    null_seconds: float,
    stop_with_stdin: bool,
) -> None:
    """Render for a coordinator in the foreground, until Ctrl-C.

    Keeps the models loaded and finished images safe whatever happens to the coordinator or to Ray, and comes back to
    the coordinator by itself. Logs go to standard error.
    """
    from farm.worker.daemon import Inbox
    from farm.worker.service import WorkerSettings, run_worker, stop_worker

    log_to_stderr(logging.INFO)
    inbox: Inbox = SimpleQueue()
    for signal_number in stop_signals():
        signal.signal(signal_number, lambda *_: stop_worker(inbox))
    if stop_with_stdin:
        when_stdin_ends(lambda: stop_worker(inbox))
    renderer = make_renderer(Catalogue(), folder, null=null_renderer, null_seconds=null_seconds)
    security = RaySecurity(ray_token(state / "access"))
    run_worker(WorkerSettings(name, folder, ray_address, security), renderer, inbox)
