"""`farm top`: the farm on one screen."""

import asyncio
import sys

import click

from farm.cli.options import FarmAddress, farm_options
from farm.cli.signals import stop_signals
from farm.errors import FarmError


@click.command(epilog="Example: farm top --address studio.local:7433")
@farm_options
def top(farm: FarmAddress) -> None:
    """Watch and control machines and jobs on one screen, also over ssh.

    Shows what each machine does and how fast, how far live jobs have come and when they are expected to end, why the
    selected one runs where it runs, and what each class of chips renders. Keys pause, resume and cancel jobs and drain
    workers; "?" lists them all. It waits while the farm is restarted, and quitting it does not affect the farm.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(
            "farm top needs a terminal, and this is none. For programs and files, use farm jobs --json, "
            "farm workers --json and farm explain JOB --json."
        )
    if failure := asyncio.run(_watch(farm)):
        raise failure


async def _watch(farm: FarmAddress) -> FarmError | None:
    """Runs the screen to its end; gives the failure that ended it, if one did."""
    from farm.cli.terminal.app import Top
    from farm.cli.terminal.picture import look

    async with farm.connect_async() as client:
        screen = Top(client, await look(client, ""))  # a farm that is not there is told before the screen is cleared
        for signal_number in stop_signals():
            asyncio.get_running_loop().add_signal_handler(signal_number, screen.exit)
        return await screen.run_async()
