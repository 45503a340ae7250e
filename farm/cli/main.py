"""The `farm` command: its group, and how its failures end."""

import importlib
import os
import signal
import sys
from typing import NoReturn

import click

from farm.cli.signals import INTERRUPTED, INTERRUPTED_WORDS, stop_signals
from farm.errors import FarmError, InvalidRequestError
from farm.installation import NAME

TRACEBACK = "FARM_TRACEBACK"

COMMANDS = {
    "demo": ("farm.cli.demo:demo", "Start a farm, render the sample batch, stop it again."),
    "up": ("farm.cli.serve:up", "Start a farm on this machine and say how to use it."),
    "coordinator": ("farm.cli.serve:coordinator", "Run the coordinator in the foreground."),
    "submit": ("farm.cli.submit:submit", "Submit prompts, or a file of them."),
    "render": ("farm.cli.render:render", "Render an image again from its file, and compare."),
    "jobs": ("farm.cli.jobs:jobs", "List jobs."),
    "watch": ("farm.cli.jobs:watch", "Follow a job to its end."),
    "pull": ("farm.cli.jobs:pull", "Fetch a job's images into a folder."),
    "top": ("farm.cli.top:top", "Watch machines and jobs on one screen, and steer them."),
    "explain": ("farm.cli.jobs:explain", "Say why a job runs where it runs, or why it does not."),
    "cancel": ("farm.cli.jobs:cancel", "Stop jobs; what is rendered remains."),
    "pause": ("farm.cli.jobs:pause", "Start nothing new of jobs."),
    "resume": ("farm.cli.jobs:resume", "Go on with paused jobs."),
    "prioritize": ("farm.cli.jobs:prioritize", "Have jobs run before others, or after them."),
    "retry": ("farm.cli.jobs:retry", "Render again what failed or was cancelled."),
    "delete": ("farm.cli.jobs:delete", "Delete jobs that have ended, with their images."),
    "workers": ("farm.cli.workers:workers", "List the machines that render, or invite one."),
    "drain": ("farm.cli.drain:drain", "Let workers take nothing new, or let them again."),
    "worker": ("farm.cli.worker:worker", "Make this machine a worker: join a farm, run, be a service, leave."),
    "probe": ("farm.cli.probe:probe", "Print what this machine is and what its chip favours."),
    "doctor": ("farm.cli.doctor:doctor", "Look for what would keep a farm from working on this machine."),
    "token": ("farm.cli.token:token", "Say who may use the farm from other machines."),
    "webhooks": ("farm.cli.webhooks:webhooks", "Show what the ends of jobs are signed with."),
    "simulate": ("farm.cli.simulate:simulate", "Try a fleet and a workload in virtual time."),
    "convert": ("farm.cli.convert:convert", "Make a model of a checkpoint."),
    "models": ("farm.cli.models:models", "List the models, fetch and check them, or have one loaded."),
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


HELP = """Renders batches of prompts on this machine, and on every Mac you have.

\b
Try it:
  farm demo                                  a farm, 30 pictures, and gone again
  farm up                                    a farm that stays
  farm submit -p "a red circle" --wait --pull out/circle
  farm submit prompts.csv --steps 20 --wait --pull out/batch
  farm jobs

Every command tells more with --help.
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
            f"{error.filename} cannot be used ({error.strerror}). See that its folder is there, that you may write to "
            "it and that its disk has room, or name another."
        )
    return (
        f"the farm met an error that it did not expect ({type(error).__name__}: {error}). That is a bug; "
        f"please report it with what the same command prints when {TRACEBACK}=1 is set."
    )


def _paragraph(error: FarmError) -> str:
    if not isinstance(error, InvalidRequestError) or len(error.violations) < 2:
        return error.message
    return "\n  ".join([error.message, *(f"{field} {problem}" for field, problem in error.violations.items())])
