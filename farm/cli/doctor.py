"""`farm doctor`: what on this machine would keep a farm or a worker from working."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from farm.cli.checks import VERDICTS, Check, Place, examine_all
from farm.cli.fleet import RAY_PORT
from farm.cli.options import address_option, json_option, ray_address_option, state_option
from farm.cli.output import console, print_json, print_table
from farm.cli.worker import folder_option


@click.command(epilog="Example: farm doctor --json")
@address_option
@state_option
@ray_address_option
@folder_option
@json_option
def doctor(address: str, state: Path, ray_address: str | None, folder: Path, as_json: bool) -> None:
    """Check everything that a farm or a worker needs on this machine, and say how to fix what is wrong.

    Exits with 1 if a check fails; warnings do not matter for that.
    """
    with console(error=True).status("checking"):
        checks = list(examine_all(Place(state, folder, address, ray_address or f"127.0.0.1:{RAY_PORT}")))
    failed = [check for check in checks if check.verdict == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        print_table(("", "SUBJECT", "FOUND", "NEXT STEP"), map(_row, checks), nothing="")
        warned = sum(check.verdict == "warn" for check in checks)
        console().print(f"\n{len(checks)} checks: {len(failed)} failed, {warned} warning{'' if warned == 1 else 's'}.")
    if failed:
        raise SystemExit(1)


def _row(check: Check) -> tuple[Text, str, str, str]:
    return Text(check.verdict, VERDICTS[check.verdict]), check.subject, check.detail, check.next_step
