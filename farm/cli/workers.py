"""Commands for the machines that render."""

import time

import click

from farm.cli.options import FarmAddress, check_inherited, farm_options, json_option
from farm.cli.output import console, local_time, print_json, print_table, short_id
from farm.cli.progress import describe_rate
from farm.cli.token import Lifetime
from farm.cli.wording import chip_class_word, slowness_words, worker_state_word


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  farm workers --json
  farm workers invite --expires 2d""",
)
@farm_options
@json_option
@click.pass_context
def workers(context: click.Context, /, farm: FarmAddress, as_json: bool) -> None:
    """List the machines that render."""
    if context.invoked_subcommand is not None:
        check_inherited(context)
        return
    with farm.connect() as client:
        listed = list(client.workers())
    if as_json:
        print_json(listed)
        return
    print_table(
        ("WORKER", "STATE", "CHIP", "FAVOURS", "RUNTIME", "RENDERS", "RATE"),
        (
            (
                short_id(worker.name),
                worker_state_word(worker),
                worker.chip,
                chip_class_word(worker),
                worker.runtime,
                worker.current_attempt or "-",
                describe_rate(worker.images_per_hour),
            )
            for worker in listed
        ),
        nothing="No worker has joined since the coordinator was started.",
    )
    for worker in listed:
        if told := "; ".join(filter(None, (worker.reason, slowness_words(worker)))):
            console().print(f"{short_id(worker.name)}: {told}")


@workers.command(epilog="Example: farm workers invite --expires 2d --name 'for the studio'")
@click.option(
    "--expires", type=Lifetime(), default="1h", show_default=True, help="How long the invite is valid: 90m, 12h, 2d."
)
@click.option("--name", default="invite", show_default=True, help="Label for this invite in `farm token list`.")
@farm_options
@json_option
def invite(expires: int, name: str, farm: FarmAddress, as_json: bool) -> None:
    """Make an invite, and print the line with which one machine joins the farm.

    It is valid once. Paste the line on the machine that is to join; whoever has it can join in that machine's place.
    """
    from farm.cli.invitation import Invitation

    with farm.connect() as client:
        made = client.create_invite(name, time.time() + expires)
    invitation = Invitation(made.addresses[0], made.secret, made.ca_fingerprint)
    line = f"farm worker join '{invitation}'"
    if as_json:
        expire_time = made.token.expire_time.ToJsonString()
        print_json(
            {"command": line, "invitation": str(invitation), "token": made.token.name, "expire_time": expire_time}
        )
        return
    click.echo(line)
    console(error=True).print(
        f"\nPaste this on the machine that is to join. It is valid once, until {local_time(made.token.expire_time)}."
    )
