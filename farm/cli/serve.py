"""`farm coordinator` and `farm up`: where the parts of a farm are put together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import click

from farm.api.address import DEFAULT_ADDRESS, check_free, check_loopback
from farm.api.server import Server
from farm.carrier.security import RaySecurity, ray_token
from farm.catalogue import Catalogue
from farm.cli.local_fleet import free_ray_address, local_workers
from farm.cli.logs import log_to_stderr
from farm.cli.options import address_option, json_option, null_renderer_option, ray_address_option, state_option
from farm.cli.output import console, print_json
from farm.cli.renderer import make_renderer
from farm.cli.signals import stop_signals
from farm.cli.stdin import when_stdin_ends
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Engine, LocalEngine
from farm.coordinator.ray_engine import RayEngine, RaySettings


@click.command(epilog="Example: farm coordinator --address 127.0.0.1:7433 --state ./state")
@address_option
@state_option
@null_renderer_option
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Render on this machine (local), or on every machine that runs `farm worker run` (ray).",
)
@ray_address_option
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as it does when the parent process dies."
)
@json_option
def coordinator(
    address: str,
    state: Path,
    null_renderer: bool,
    engine_name: str,
    ray_address: str,
    stop_with_stdin: bool,
    as_json: bool,
) -> None:
    """Run the coordinator in the foreground, with this machine as its worker unless --engine says otherwise.

    Jobs and images live in the state folder, and survive whatever happens to this process. Prints a line once it
    listens; --address 127.0.0.1:0 takes any free port. Logs go to standard error. Stop it with Ctrl-C.
    """
    log_to_stderr(logging.INFO)

    def announce(listening: str) -> None:
        if as_json:
            print_json({"address": listening, "state": str(state)})
        else:
            click.echo(f"Listening on {listening}; state in {state}")

    catalogue = Catalogue()
    engine: Engine = (
        RayEngine(RaySettings(ray_address, RaySecurity(ray_token(state / "access"))))
        if engine_name == "ray"
        else LocalEngine(make_renderer(catalogue, state / "worker", null=null_renderer))
    )
    asyncio.run(serve(address, state, catalogue, engine, stop_with_stdin, announce))


@click.command(epilog="Example: farm up")
@address_option
@state_option
@null_renderer_option
@click.option(
    "--workers",
    type=click.IntRange(0, 16),
    default=0,
    help="Run so many workers as processes with Ray, to try out a fleet. They share this machine's one device: one "
    "renders at a time, unless with --null-renderer.  [default: this machine as one worker, without Ray]",
)
def up(address: str, state: Path, null_renderer: bool, workers: int) -> None:
    """Start a farm on this machine, and say how to use it. Ctrl-C stops it; jobs go on when it is started again."""
    log_to_stderr(logging.WARNING)
    out = console()

    def announce(listening: str) -> None:
        out.print(f"[bold]The farm is up[/bold] at {listening}; jobs and images are in {state}\n")
        out.print("In another terminal:")
        option = "" if listening == DEFAULT_ADDRESS else f" --address {listening}"
        for line, meaning in (
            (f'farm submit{option} -p "a red circle on a white background" --wait --pull out/circle', "one picture"),
            (f"farm submit{option} prompts.csv --wait --pull out/batch", "many"),
            (f"farm jobs{option}", "what runs"),
        ):
            out.print(f"  {line}  [dim]# {meaning}[/dim]")
        out.print("\nCtrl-C stops the farm. Jobs that are not finished go on when it is started again.")

    catalogue = Catalogue()
    if workers == 0:
        local = LocalEngine(make_renderer(catalogue, state / "worker", null=null_renderer))
        asyncio.run(serve(address, state, catalogue, local, stop_with_stdin=False, announce=announce))
        return
    check_loopback(address)
    check_free(address)
    ray_address = free_ray_address()
    security = RaySecurity(ray_token(state / "access"))
    with local_workers(workers, state, ray_address, null_renderer=null_renderer):
        ray = RayEngine(RaySettings(ray_address, security))
        asyncio.run(serve(address, state, catalogue, ray, stop_with_stdin=False, announce=announce))


async def serve(
    address: str,
    state: Path,
    catalogue: Catalogue,
    engine: Engine,
    stop_with_stdin: bool,
    announce: Callable[[str], None],
) -> None:
    """Runs a farm until a signal, the end of standard input, or a failure of its own.

    Raises:
        FarmError: It cannot start, or cannot go on.
    """
    check_loopback(address)
    check_free(address)
    stop = _stop_event(stop_with_stdin)
    async with Coordinator.open(state, catalogue, engine) as coordinator:
        server = await Server.start(address, coordinator, catalogue)
        try:
            announce(server.address)
            await stop.wait()
        finally:
            await server.stop()


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
