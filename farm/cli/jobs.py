"""Commands for jobs that are there."""

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console

from farm.cli.options import FarmAddress, farm_options, json_option
from farm.cli.outcome import describe_end, describe_failures, exit_code, state_word
from farm.cli.output import console, count_images, local_time, print_json, print_table, short_id
from farm.cli.progress import describe_end_time, follow
from farm.cli.wording import attempt_state_word
from farm.client import Job
from farm.domain import JobState
from farm.output_folder import CONTACT_SHEET, check_output_folder
from farm.v1 import job_pb2


@click.command(epilog="Example: farm jobs --state RUNNING --json")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState], False),
    help="Only jobs in this state. Repeat the option for more.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="List at most this many.")
@farm_options
@json_option
def jobs(states: tuple[str, ...], limit: int, farm: FarmAddress, as_json: bool) -> None:
    """List jobs, newest first."""
    with farm.connect() as client:
        listed = list(itertools.islice(client.jobs(JobState(state) for state in states), limit))
    if as_json:
        print_json([job.message for job in listed])
        return
    print_table(
        ("JOB", "NAME", "STATE", "IMAGES", "FAILED", "SUBMITTED"),
        (
            (
                short_id(job.name),
                job.message.display_name,
                state_word(job),
                f"{job.message.succeeded_count}/{job.message.image_count}",
                str(job.message.failed_count),
                local_time(job.message.create_time),
            )
            for job in listed
        ),
        nothing='There are no jobs. Submit one: farm submit -p "a red circle on a white background"',
    )


def _act(verb: str, action: Callable[[Job], object], summary: str) -> click.Command:
    """A command that does one thing to each of the jobs it is given."""

    @click.command(verb, help=summary, epilog=f"Example: farm {verb} JOB [JOB...]")
    @click.argument("job_names", metavar="JOB...", nargs=-1, required=True)
    @farm_options
    @json_option
    def command(job_names: tuple[str, ...], farm: FarmAddress, as_json: bool) -> None:
        _to_each(farm, job_names, action, "deleted" if verb == "delete" else "", as_json=as_json)

    return command


def _to_each(
    farm: FarmAddress, names: Iterable[str], action: Callable[[Job], object], word: str, *, as_json: bool
) -> None:
    """Does one thing to each job and says what each is then: `word`, or else its state."""
    acted = []
    with farm.connect() as client:
        for name in names:
            job = client.job(name)
            action(job)
            acted.append(job)
            if not as_json:
                click.echo(f"{job.name}: {word or state_word(job)}")
    if as_json:
        print_json([job.message for job in acted])


@click.command(epilog="Example: farm prioritize JOB --to 10")
@click.argument("job_names", metavar="JOB...", nargs=-1, required=True)
@click.option("--to", "priority", type=int, required=True, help="The new priority, -100 to 100; 0 is the default.")
@farm_options
@json_option
def prioritize(job_names: tuple[str, ...], priority: int, farm: FarmAddress, as_json: bool) -> None:
    """Change the priority of jobs that have not ended: larger runs first.

    What is being rendered continues. A job gains one point per minute in which nothing of it starts, so none waits for
    ever.
    """
    _to_each(farm, job_names, lambda job: job.set_priority(priority), f"priority {priority}", as_json=as_json)


cancel = _act("cancel", Job.cancel, "Stop jobs: running images stop within a step; finished images are kept.")
pause = _act("pause", Job.pause, "Pause jobs: what is being rendered finishes, nothing new starts.")
resume = _act("resume", Job.resume, "Resume paused jobs.")
retry = _act("retry", Job.retry, "Render again what failed or was cancelled in jobs that have ended.")
delete = _act("delete", Job.delete, "Delete jobs that have ended, with their images.")


@click.command(epilog="Example: farm watch JOB")
@click.argument("job_name", metavar="JOB")
@farm_options
@json_option
def watch(job_name: str, farm: FarmAddress, as_json: bool) -> None:
    """Follow a job to its end.

    With --json, prints one event per line: the job's state first, then what happens. The exit code is 0 if every
    image was rendered and 1 if not. Ctrl-C ends the watching; the job continues.
    """
    with farm.connect() as client:
        job = client.job(job_name)
        if as_json:
            for event in job.watch():
                print_json(event)
        else:
            follow_to_end(job, console())
            click.echo(describe_end(job))
        sys.exit(exit_code(job))


def follow_to_end(job: Job, screen: Console) -> None:
    """Shows a job's progress until it ends; Ctrl-C ends the showing, not the job, and says so."""
    try:
        follow(job, screen)
    except KeyboardInterrupt:
        name = short_id(job.name)
        click.echo(f"\n{job.name} continues. Follow it: farm watch {name}   Stop it: farm cancel {name}", err=True)
        raise


@click.command(epilog="Example: farm pull JOB out/batch")
@click.argument("job_name", metavar="JOB")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@farm_options
@json_option
def pull(job_name: str, folder: Path, farm: FarmAddress, as_json: bool) -> None:
    """Fetch a job's images into a folder.

    Writes NNNNNN.png by index, manifest.jsonl (one object per image) and contact-sheet.png. From a running job it
    fetches what is rendered so far; run it again for the rest. Existing files are kept. An image whose file is damaged
    on the coordinator is left out and named at the end.
    """
    with farm.connect() as client:
        job = client.job(job_name)
        check_output_folder(folder, job.name)
        pull_job(job, folder, as_json=as_json)


def pull_job(job: Job, folder: Path, *, as_json: bool = False) -> None:
    """Fetches a job's images and says where they are."""
    with console(error=True).status("Fetching images ...") as status:
        fetched = 0

        def count() -> None:
            nonlocal fetched
            fetched += 1
            status.update(f"Fetching images ... {fetched}")

        total = job.download(folder, count)
    if as_json:
        print_json({"job": job.name, "folder": str(folder), "image_count": total, "fetched_count": fetched})
    else:
        kept = f" ({total - fetched} of them fetched before)" if total > fetched else ""
        sheet = folder / CONTACT_SHEET
        click.echo(f"{count_images(total)} in {folder}{kept}" + (f"; all on one: {sheet}" if sheet.exists() else ""))


@click.command(epilog="Example: farm explain JOB")
@click.argument("job_name", metavar="JOB")
@farm_options
@json_option
def explain(job_name: str, farm: FarmAddress, as_json: bool) -> None:
    """Say, worker by worker, why a job runs there or why it does not.

    Also lists the newest lost attempts, and why they were lost: their worker died, slept or lost its network, or
    another was first. Their images are rendered again; nothing but time is lost.
    """
    with farm.connect() as client:
        job = client.job(job_name)
        explanation = job.explain()
        if as_json:
            print_json(explanation)
            return
        click.echo("\n".join([explanation.summary, *_end(job), *describe_failures(job)]))
    _print_lost(explanation.lost_attempts)
    if job.state.is_final:
        return
    print_table(
        ("WORKER", "RUNS HERE", "REASON", "WHY"),
        (
            (short_id(worker.worker), "yes" if worker.runs_here else "no", worker.reason, worker.detail)
            for worker in explanation.workers
        ),
        nothing="No worker has joined since the coordinator was started.",
    )


def _end(job: Job) -> list[str]:
    """When it is thought to end, if that is known."""
    eta = job.message.eta
    return [f"It should end in {describe_end_time(eta, time.time())}."] if job.message.HasField("eta") else []


def _print_lost(attempts: Sequence[job_pb2.Attempt]) -> None:
    if not attempts:
        return
    one = len(attempts) == 1
    click.echo("An attempt was lost:" if one else f"{len(attempts)} attempts were lost, the newest last:")
    print_table(
        ("WHEN", "ATTEMPT", "WORKER", "IMAGES", "ENDED", "WHY"),
        (
            (
                local_time(attempt.end_time),
                str(attempt.number),
                short_id(attempt.worker),
                f"{attempt.first_index} to {attempt.first_index + attempt.image_count - 1}",
                attempt_state_word(attempt),
                attempt.reason,
            )
            for attempt in attempts
        ),
        nothing="",
    )
