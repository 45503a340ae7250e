"""`farm drain`: takes workers out of service in order, and back."""

import click

from farm.cli.options import FarmAddress, farm_options, json_option
from farm.cli.output import print_json, short_id
from farm.cli.wording import worker_state_word


@click.command(epilog="Example: farm drain studio-3 --now")
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
@click.option("--now", is_flag=True, help="Also stop what they render; others render it again.")
@click.option("--undo", is_flag=True, help="Put them back in service.")
@farm_options
@json_option
def drain(workers: tuple[str, ...], now: bool, undo: bool, farm: FarmAddress, as_json: bool) -> None:
    """Let workers finish what they have and take nothing new, for example before a Mac is switched off.

    They stay drained over restarts of worker and coordinator, until --undo.
    """
    if now and undo:
        raise click.UsageError("Choose either --now or --undo.")
    with farm.connect() as client:
        drained = [client.resume_worker(worker) if undo else client.drain(worker, now=now) for worker in workers]
    if as_json:
        print_json(drained)
        return
    for worker in drained:
        rest = "; it still renders what it has" if worker.current_attempt and not undo else ""
        click.echo(f"{short_id(worker.name)} is {worker_state_word(worker)}{rest}")
