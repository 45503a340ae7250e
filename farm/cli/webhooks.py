"""`farm webhooks`: what receivers need to trust what they are told."""

from pathlib import Path

import click

from farm.access.access import FOLDER
from farm.cli.options import json_option, state_option
from farm.cli.output import print_json
from farm.webhooks.signing import Secret


@click.group(epilog="Example: farm webhooks secret")
def webhooks() -> None:
    """Notify a URL when a job ends: farm submit --webhook URL.

    It gets a POST with the job as JSON, signed as specified by standardwebhooks.com: check it with a library from there
    and the farm's secret. The farm tries again for three days, even over restarts, until the answer is a success (2xx)
    or 410. For addresses of private networks and of the farm's own machine, start the farm with --private-webhooks.
    """


@webhooks.command(epilog="Example: farm webhooks secret --state ./state")
@state_option
@json_option
def secret(state: Path, as_json: bool) -> None:
    """Print the secret that this farm signs with, and create it if there is none.

    Run it on the farm's machine, as the user that runs the farm. Whoever has the secret can forge messages, so give it
    to receivers only.
    """
    found = Secret.open(state.absolute() / FOLDER)
    if as_json:
        print_json({"secret": str(found)})
    else:
        click.echo(str(found))
