"""Commands for the machines that render."""

import click

from farm.cli.options import Door, farm_options, json_option
from farm.cli.output import console, print_json, print_table, short_id
from farm.cli.progress import describe_rate
from farm.v1 import job_pb2, worker_pb2


@click.command(epilog="Example: farm workers --json")
@farm_options
@json_option
def workers(door: Door, as_json: bool) -> None:
    """List the machines that render."""
    with door.connect() as client:
        listed = list(client.workers())
    if as_json:
        print_json(listed)
        return
    print_table(
        ("WORKER", "STATE", "CHIP", "FAVOURS", "RUNTIME", "RENDERS", "RATE"),
        (
            (
                short_id(worker.name),
                worker_pb2.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower(),
                worker.chip,
                job_pb2.ChipClass.Name(worker.chip_class).removeprefix("CHIP_CLASS_"),
                worker.runtime,
                worker.current_attempt or "-",
                describe_rate(worker.images_per_hour),
            )
            for worker in listed
        ),
        nothing="No worker has joined this farm yet.",
    )
    for worker in listed:
        if worker.reason:
            console().print(f"{short_id(worker.name)}: {worker.reason}")
