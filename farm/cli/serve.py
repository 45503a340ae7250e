"""`farm coordinator` and `farm up`: where the parts of a farm are put together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from farm.access.access import Access
from farm.access.enrolment import RayAccess
from farm.access.hosts import is_wildcard
from farm.api.address import DEFAULT_ADDRESS, check_free, listens_locally
from farm.api.reach import Reach
from farm.api.server import Server
from farm.catalogue import Catalogue
from farm.cli.fleet import ray_access
from farm.cli.fleet import ray_address as default_ray_address
from farm.cli.local_fleet import free_ray_address, local_workers
from farm.cli.logs import log_to_stderr
from farm.cli.open_files import raise_open_file_limit
from farm.cli.options import (
    hostname_option,
    json_option,
    listen_option,
    null_renderer_option,
    private_webhooks_option,
    ray_address_option,
    state_option,
    stay_awake_option,
    web_listen_option,
)
from farm.cli.output import console, print_json
from farm.cli.renderer import local_renderer
from farm.cli.signals import stop_signals
from farm.cli.stdin import when_stdin_ends
from farm.cli.worker import default_folder
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Engine, LocalEngine
from farm.coordinator.ray_engine import RayEngine
from farm.metrics import BOTH, COORDINATOR, WORKER, Meters
from farm.web.server import WebServer
from farm.webhooks.delivery import delivering
from farm.webhooks.signing import Secret
from farm.worker.awake import stay_awake as keep_awake


def coordinator_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of whatever runs a coordinator."""
    with_flags = null_renderer_option(private_webhooks_option(command))
    return listen_option(web_listen_option(hostname_option(state_option(with_flags))))


@click.command(
    epilog="""\b
Examples:
  farm coordinator --state ./state
  farm coordinator --listen 0.0.0.0:7433 --hostname render.example.com"""
)
@coordinator_options
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Render on this machine (local), or on every machine that runs `farm worker run` (ray).",
)
@ray_address_option
@stay_awake_option
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as it does when the parent process dies."
)
@json_option
def coordinator(
    address: str,
    web_address: str,
    hostnames: tuple[str, ...],
    state: Path,
    null_renderer: bool,
    engine_name: str,
    ray_address: str | None,
    private_webhooks: bool,
    stay_awake: bool,
    stop_with_stdin: bool,
    as_json: bool,
) -> None:
    """Run the coordinator in the foreground, with this machine as its worker unless --engine says otherwise.

    Jobs and images are kept in the state folder, and survive whatever happens to this process. Prints a line once it
    listens; --listen 127.0.0.1:0 takes any free port. Logs go to standard error. Stop it with Ctrl-C.

    By default only this machine can reach it. With --listen 0.0.0.0:7433 others can, too: it then uses TLS with a
    certificate of the farm's own authority, and prints what they need. `farm token create` makes their tokens.
    """
    log_to_stderr(logging.INFO)
    raise_open_file_limit()
    if stay_awake:
        keep_awake()

    def announce(reach: Reach, access: Access, web: WebServer | None) -> None:
        if as_json:
            _print_facts(reach, access, web, state)
            return
        option = _address_option(reach)
        click.echo(f"Listening on {reach.address}; state in {state}")
        if web is not None:
            click.echo(f"The web page is at {web.urls[0]}; log in with a token that `farm token create{option}` makes.")
        if not reach.is_local:
            click.echo(
                f"Other machines need FARM_ADDRESS={reach.addresses()[0]} FARM_CA={access.authority.fingerprint} and a "
                f"FARM_TOKEN, which `farm token create{option}` makes."
            )
        if engine_name == "ray":
            click.echo(f"`farm workers invite{option}` prints the line with which a machine joins as a worker.")

    catalogue = Catalogue()
    reaches = Reach(address, hostnames), web_reach(web_address, hostnames)
    if engine_name == "local":
        with local_engine(null_renderer) as (engine, meters):
            asyncio.run(
                serve(reaches, state, catalogue, engine, None, stop_with_stdin, private_webhooks, announce, meters)
            )
        return
    check_free(address)
    settings, ray = ray_access(state, ray_address or default_ray_address(reaches[0]))
    asyncio.run(serve(reaches, state, catalogue, RayEngine(settings), ray, stop_with_stdin, private_webhooks, announce))


@click.command(epilog="Example: farm up")
@coordinator_options
@click.option(
    "--workers",
    type=click.IntRange(0, 16),
    default=0,
    help="Run this many worker processes with Ray, to try out a fleet. They share this machine's one device, so one "
    "renders at a time, except with --null-renderer.  [default: this machine as one worker, without Ray]",
)
@json_option
def up(
    address: str,
    web_address: str,
    hostnames: tuple[str, ...],
    state: Path,
    null_renderer: bool,
    private_webhooks: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Start a farm on this machine, and print how to use it. Ctrl-C stops it; jobs continue when it is restarted."""
    log_to_stderr(logging.WARNING)
    raise_open_file_limit()
    announce = partial(_print_facts if as_json else _print_welcome, state=state)
    catalogue = Catalogue()
    reaches = Reach(address, hostnames), web_reach(web_address, hostnames)
    if workers == 0:
        with local_engine(null_renderer) as (engine, meters):
            asyncio.run(serve(reaches, state, catalogue, engine, None, False, private_webhooks, announce, meters))
        return
    if not reaches[0].is_local:
        raise click.UsageError(
            "--workers is for trying out a fleet on this machine, so --listen must be a loopback address. For other "
            "machines, run `farm coordinator --engine ray --listen ...`."
        )
    check_free(address)
    settings, ray = ray_access(state, free_ray_address())
    with local_workers(workers, state, settings.address, null_renderer=null_renderer):
        asyncio.run(serve(reaches, state, catalogue, RayEngine(settings), ray, False, private_webhooks, announce))


def _print_welcome(reach: Reach, access: Access, web: WebServer | None, state: Path) -> None:
    """What people need to know of a farm that listens: where it is, and what to type next."""
    out = console()
    out.print(Text.assemble(("The farm is up", "bold"), f" at {reach.address}; jobs and images are in {state}\n"))
    if web is not None:
        link = f"{web.urls[0]}#token={access.tokens.local_secret()}"
        out.print(f"Watch it in a browser: {link}\n", soft_wrap=True, highlight=False)
    out.print("In another terminal:")
    option = _address_option(reach)
    for line, meaning in (
        (f'farm submit{option} -p "a red circle on a white background" --wait --pull out/circle', "one picture"),
        (f"farm submit{option} prompts.csv --wait --pull out/batch", "many"),
        (f"farm jobs{option}", "what runs"),
    ):
        out.print(Text.assemble(f"  {line}  ", (f"# {meaning}", "dim")))
    if not reach.is_local:
        out.print(f"\nOn other machines, set FARM_TOKEN to a token from `farm token create{option}` here, and run")
        out.print(f"  export FARM_ADDRESS={reach.addresses()[0]} FARM_CA={access.authority.fingerprint}")
    out.print("\nCtrl-C stops the farm. Unfinished jobs continue when it is started again.")


def _address_option(reach: Reach) -> str:
    """What this machine's own commands need to find the farm, with a space before it; empty if nothing."""
    host, _, port = reach.address.rpartition(":")
    here = f"127.0.0.1:{port}" if is_wildcard(host) else reach.address
    return "" if here == DEFAULT_ADDRESS else f" --address {here}"


def _print_facts(reach: Reach, access: Access, web: WebServer | None, state: Path) -> None:
    """What programs need to know of it."""
    print_json(
        {
            "address": reach.address,
            "addresses": reach.addresses(),
            "ca_fingerprint": access.authority.fingerprint,
            "state": str(state),
            "page": web.urls[0] if web else "",
        }
    )


@contextlib.contextmanager
def local_engine(null_renderer: bool) -> Iterator[tuple[LocalEngine, Meters]]:
    """This machine as the one that coordinates and the one that renders; one process tells the metrics of both."""
    from farm.worker.metering import MeteredRenderer

    meters = Meters((*BOTH, *COORDINATOR, *WORKER))
    with local_renderer(default_folder(), null=null_renderer) as renderer:
        yield LocalEngine(MeteredRenderer(renderer, meters)), meters


async def serve(
    reaches: tuple[Reach, Reach | None],
    state: Path,
    catalogue: Catalogue,
    engine: Engine,
    ray: RayAccess | None,
    stop_with_stdin: bool,
    private_webhooks: bool,
    announce: Callable[[Reach, Access, WebServer | None], None],
    meters: Meters | None = None,
) -> None:
    """Runs a farm until a signal, the end of standard input, or a failure of its own; `reaches`: of API and page.

    Raises:
        FarmError: It cannot start, or cannot go on.
    """
    reach, page = reaches
    for place, option in ((reach, "--address"), (page, "--web-listen")):
        if place is not None:
            listens_locally(place.address)  # said at once if it is no address
            check_free(place.address, option)
    stop = _stop_event(stop_with_stdin)
    async with Coordinator.open(state, catalogue, engine, meters) as coordinator:
        access = Access.open(state)
        server = await Server.start(reach, coordinator, catalogue, access, ray)
        web = None
        try:
            web = await WebServer.start(page, coordinator, catalogue, access) if page else None
            async with delivering(coordinator, Secret.open(access.folder), allow_private=private_webhooks):
                announce(server.reach, access, web)
                await stop.wait()
        finally:
            if web is not None:
                await web.stop()
            await server.stop()


def web_reach(address: str, hostnames: tuple[str, ...]) -> Reach | None:
    """Where the page is served; None if it is not."""
    return None if address == "none" else Reach(address, hostnames)


def _stop_event(stop_with_stdin: bool) -> asyncio.Event:
    """Is set by Ctrl-C, SIGTERM, SIGHUP and, if asked for, the end of standard input."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signal_number in stop_signals():
        loop.add_signal_handler(signal_number, stop.set)

    def end() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop.set)

    if stop_with_stdin:
        when_stdin_ends(end)
    return stop
