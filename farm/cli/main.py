"""The `farm` command: its group, and how its failures end."""

import importlib
import os
import signal
import sys
from difflib import get_close_matches
from typing import NoReturn

import click

from farm.cli.signals import INTERRUPTED, INTERRUPTED_WORDS, stop_signals
from farm.errors import FarmError, InvalidRequestError
from farm.installation import NAME

TRACEBACK = "FARM_TRACEBACK"

COMMANDS = {
    "demo": ("farm.cli.demo:demo", "Start a farm, render the sample batch, stop it again."),
    "up": ("farm.cli.serve:up", "Start a farm on this machine and print how to use it."),
    "coordinator": ("farm.cli.serve:coordinator", "Run the coordinator in the foreground."),
    "submit": ("farm.cli.submit:submit", "Submit prompts, or a file of them."),
    "render": ("farm.cli.render:render", "Render an image again from its metadata, and compare."),
    "jobs": ("farm.cli.jobs:jobs", "List jobs."),
    "watch": ("farm.cli.jobs:watch", "Follow a job to its end."),
    "pull": ("farm.cli.jobs:pull", "Fetch a job's images into a folder."),
    "top": ("farm.cli.top:top", "Watch and control machines and jobs on one screen."),
    "explain": ("farm.cli.jobs:explain", "Say why a job runs where it does, or why it does not run."),
    "cancel": ("farm.cli.jobs:cancel", "Stop jobs; finished images are kept."),
    "pause": ("farm.cli.jobs:pause", "Pause jobs: what is being rendered finishes, nothing new starts."),
    "resume": ("farm.cli.jobs:resume", "Resume paused jobs."),
    "prioritize": ("farm.cli.jobs:prioritize", "Run jobs before others, or after them."),
    "retry": ("farm.cli.jobs:retry", "Render again what failed or was cancelled."),
    "delete": ("farm.cli.jobs:delete", "Delete jobs that have ended, with their images."),
    "workers": ("farm.cli.workers:workers", "List the machines that render, or invite one."),
    "drain": ("farm.cli.drain:drain", "Take workers out of service in order, or back in."),
    "worker": ("farm.cli.worker:worker", "Make this machine a worker: join a farm, run, install as a service, leave."),
    "probe": ("farm.cli.probe:probe", "Print what this machine is and what its chip favours."),
    "doctor": ("farm.cli.doctor:doctor", "Check what would keep a farm from working on this machine."),
    "token": ("farm.cli.token:token", "Create, list and revoke access tokens."),
    "webhooks": ("farm.cli.webhooks:webhooks", "Print the secret that webhook messages are signed with."),
    "simulate": ("farm.cli.simulate:simulate", "Simulate a fleet and a workload in virtual time."),
    "convert": ("farm.cli.convert:convert", "Convert a checkpoint into a model."),
    "models": ("farm.cli.models:models", "List, fetch and check models, or have one loaded."),
}
"""Each command, where it lives, and what it does. They are loaded when they are used, so that help comes at once."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All commands, in the order of a newcomer's needs."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds a command; says what a mistyped one may have meant."""
        close = get_close_matches(args[0], COMMANDS, 1)
        if args[0] not in COMMANDS and close and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{close[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


HELP = """Renders batches of prompts on this machine, and on every Mac you have.

\b
Try it:
  farm demo                                  start a farm, render 30 pictures, stop it
  farm up                                    start a farm that keeps running
  farm submit -p "a red circle" --wait --pull out/circle
  farm submit prompts.csv --steps 20 --wait --pull out/batch
  farm jobs

Every command has its own --help.
"""


@click.group(
    cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name=NAME, prog_name="farm")
def cli() -> None:
    """The group of all commands. It runs when the command is imported: from here on there is something to stop."""
    for signal_number in stop_signals():  # any of them stops what was started, also in the background
        signal.signal(signal_number, signal.default_int_handler)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits. What goes wrong is told in a paragraph, never in a traceback."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its failures are told below, in the farm's words
    try:
        sys.exit(cli(arguments, prog_name="farm", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo(INTERRUPTED_WORDS, err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe had enough, as `head` does
        sys.stderr.close()
        sys.exit(0)
    except FarmError as error:
        click.echo(f"Error: {_paragraph(error)}", err=True)
        sys.exit(1)
    except Exception as error:
        if TRACEBACK in os.environ:
            raise
        click.echo(f"Error: {_unexpected(error)}", err=True)
        sys.exit(1)


def _unexpected(error: Exception) -> str:
    """An error that no command has words for: a file that cannot be used is its owner's to mend, all else is ours."""
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename} cannot be used ({error.strerror}). Make sure that its folder exists, that you may write "
            "to it and that its disk has room, or name another."
        )
    return (
        f"the farm met an unexpected error ({type(error).__name__}: {error}). That is a bug; "
        f"please report it with what the same command prints when {TRACEBACK}=1 is set."
    )


def _paragraph(error: FarmError) -> str:
    if not isinstance(error, InvalidRequestError) or len(error.violations) < 2:
        return error.message
    return "\n  ".join([error.message, *(f"{field} {problem}" for field, problem in error.violations.items())])
