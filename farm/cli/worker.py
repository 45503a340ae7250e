"""`farm worker`: what is run on the machine that renders."""

import logging
import signal
import socket
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import click

from farm.carrier.security import RaySecurity, ray_token
from farm.cli.logs import log_to_stderr
from farm.cli.open_files import raise_open_file_limit
from farm.cli.options import (
    LABELS_VARIABLE,
    coordinator_state_option,
    is_given,
    json_option,
    null_renderer_option,
    stay_awake_option,
    worker_labels_option,
)
from farm.cli.output import console, print_json
from farm.cli.renderer import local_renderer
from farm.cli.signals import stop_signals
from farm.cli.stdin import when_stdin_ends
from farm.installation import data_folder
from farm.worker.daemon import Inbox
from farm.worker.membership import MembershipFolder
from farm.worker.service import METRICS_PORT, WorkerSettings, run_worker, stop_worker

log = logging.getLogger(__name__)


@click.group(
    epilog="""\b
Example, with the line that `farm workers invite` prints on the coordinator:
  farm worker join 'farm://studio.local:7433?token=...&ca=sha256:...'
  farm worker install"""
)
def worker() -> None:
    """Make this machine a worker of a farm."""


def default_folder() -> Path:
    """Where a worker keeps what it has finished, if nobody says otherwise."""
    return data_folder() / "worker"


folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_folder,
    help="What the worker keeps: its membership, and finished images not yet delivered.  [default: in your user's "
    "data folder]",
)


@worker.command(
    epilog="""\b
Example:
  farm worker join 'farm://studio.local:7433?token=...&ca=sha256:...' --name studio-3""",
)
@click.argument("invitation")
@click.option("--name", default=socket.gethostname, help="What to call this machine.  [default: the host's name]")
@folder_option
@json_option
def join(invitation: str, name: str, folder: Path, as_json: bool) -> None:
    """Join a farm with INVITATION, from the line that `farm workers invite` prints.

    Verifies the farm by the fingerprint in the line, makes a key that never leaves this machine, and has it certified.
    Versions of the farm, Ray and Python must be the coordinator's; if they are not, says what to install. Joining the
    same farm again, with a new line, replaces the earlier membership.
    """
    from farm.cli.invitation import read_invitation
    from farm.cli.joining import join_farm

    membership = join_farm(read_invitation(invitation), name, MembershipFolder(folder))
    if as_json:
        print_json({"worker": f"workers/{name}", "farm": membership.farm_address, "folder": str(folder)})
        return
    option = "" if folder == default_folder() else f" --folder {folder}"
    out = console()
    out.print(f'This machine is now the worker "{name}" of the farm at {membership.farm_address}. To have it render:')
    out.print(f"  farm worker run{option}        in this terminal, until Ctrl-C")
    out.print(f"  farm worker install{option}    as a service that always runs")


@worker.command(
    epilog="""\b
Examples:
  farm worker run
  farm worker run --label room=attic
  farm worker run --ray-address 127.0.0.1:7434 --name second --folder ./second"""
)
@click.option(
    "--ray-address",
    envvar="FARM_RAY_ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where Ray's head listens on this machine, to try out a farm without joining it. A machine that has joined "
    "ignores the variable.",
)
@click.option("--name", help="This worker's name, with --ray-address.  [default: the host's name]")
@folder_option
@coordinator_state_option
@worker_labels_option
@null_renderer_option
@click.option(
    "--null-seconds", type=float, default=0.0, hidden=True, help="Seconds that the null renderer takes for an image."
)
@click.option(
    "--metrics-listen",
    default="",
    envvar="FARM_METRICS_LISTEN",
    metavar="HOST:PORT",
    help="Where to serve /metrics for Prometheus; beyond loopback with TLS and the farm's scrape token.  [default: "
    f"0.0.0.0:{METRICS_PORT} in a farm with TLS, else a free port of 127.0.0.1]",
)
@stay_awake_option
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as it does when the parent process dies."
)
@click.pass_context
def run(
    context: click.Context,
    ray_address: str | None,
    name: str | None,
    folder: Path,
    state: Path,
    labels: dict[str, str],
    null_renderer: bool,
    null_seconds: float,
    metrics_listen: str,
    stay_awake: bool,
    stop_with_stdin: bool,
) -> None:
    """Render for the farm that this machine has joined, in the foreground, until Ctrl-C.

    Keeps the models loaded and finished images safe whatever happens to the coordinator or to Ray, and reconnects by
    itself. Logs go to standard error.
    """
    log_to_stderr(logging.INFO)
    raise_open_file_limit()
    if ray_address is not None and not is_given(context, "ray_address") and MembershipFolder(folder).exists():
        log.info("worker.ray_address_ignored address=%s reason='this machine has joined a farm'", ray_address)
        ray_address = None  # the variable is the coordinator's, too, and a membership says where Ray is
    if ray_address is not None:
        security = RaySecurity(ray_token(state / "access"))
        settings = WorkerSettings(name or socket.gethostname(), folder, ray_address, security)
    elif name is not None:
        raise click.UsageError("A worker has the name that it joined with; join again to change it.")
    else:
        settings = _member(folder)
    settings = replace(settings, metrics_listen=metrics_listen)
    if stay_awake:
        from farm.worker.awake import stay_awake as keep_awake

        keep_awake()
    inbox: Inbox = SimpleQueue()
    for signal_number in stop_signals():
        signal.signal(signal_number, lambda *_: stop_worker(inbox))
    if stop_with_stdin:
        when_stdin_ends(lambda: stop_worker(inbox))
    with local_renderer(folder, null=null_renderer, null_seconds=null_seconds, labels=labels) as renderer:
        run_worker(settings, renderer, inbox)


def _member(folder: Path) -> WorkerSettings:
    """The settings of a worker that has joined."""
    from farm.access.certificates import expiry
    from farm.cli.joining import find_ray, keep_valid, refreshed

    memberships = MembershipFolder(folder)
    membership = refreshed(memberships)
    return WorkerSettings(
        membership.worker_id,
        folder,
        membership.ray_address,
        memberships.ray_security(membership),
        prepare=lambda ip: keep_valid(memberships, ip),
        find_ray=lambda: find_ray(memberships),
        certificate_expiry=lambda: expiry(memberships.load_secrets().certificate_pem).timestamp(),
    )


@worker.command(
    epilog="""\b
Examples:
  farm worker install --dry-run
  farm worker install --label room=attic --label owner=anna"""
)
@folder_option
@worker_labels_option
@click.option("--dry-run", is_flag=True, help="Print what would be written and run, and do nothing.")
def install(folder: Path, labels: dict[str, str], dry_run: bool) -> None:
    """Install this worker as a system service that always runs: launchd on macOS, systemd on Linux.

    It is started with the machine (on macOS: when you log in) and again whenever it ends. `farm worker uninstall`
    undoes this.
    """
    from farm.cli import service

    MembershipFolder(folder).load()
    variables = {LABELS_VARIABLE: " ".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
    made = service.worker_service(folder.absolute(), variables)
    if dry_run:
        click.echo(f"# {made.path}\n{made.description.decode()}")
        for command in made.load:
            click.echo(" ".join(command))
        return
    service.install(made)
    out = console()
    out.print(f"The worker is running, and will be started with this machine ({made.path}).")
    out.print(f"Its log: {made.log}")
    if made.hint:
        out.print(made.hint)


@worker.command(epilog="Example: farm worker uninstall")
@folder_option
def uninstall(folder: Path) -> None:
    """Undo `farm worker install`; the machine stays a member of its farm."""
    from farm.cli import service

    if service.uninstall(service.worker_service(folder.absolute())):
        click.echo("The worker is stopped, and the system will not start it again.")
    else:
        click.echo(f"No service is installed for the worker in {folder}.")


@worker.command(epilog="Example: farm worker leave")
@folder_option
@click.option("--now", is_flag=True, help="Give back what is being rendered instead of finishing it.")
def leave(folder: Path, now: bool) -> None:
    """Leave the farm: finish current work, stop the worker, revoke its credentials and delete them here.

    If the farm cannot be reached, leaves anyway, and says what the farm's owner has to do.
    """
    from farm.cli.leaving import leave_farm

    with console(error=True).status("Waiting for the worker to finish what it has ..."):
        told = leave_farm(folder, now=now)
    click.echo(told)
