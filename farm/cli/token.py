"""`farm token`: who may use the farm, and in which role."""

import re
import time
from typing import Any

import click

from farm.access.tokens import Role
from farm.api.address import listens_locally
from farm.cli.options import FarmAddress, farm_options, json_option
from farm.cli.output import console, local_time, print_json, print_table, short_id
from farm.v1 import access_pb2

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PAGE = 1000


class Lifetime(click.ParamType[int]):
    """So long from now: "90m", "12h", "30d", "8w", in seconds."""

    name = "lifetime"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it."""
        written = re.fullmatch(r"([1-9]\d{0,4})([mhdw])", str(value))
        if written is None:
            self.fail(f'"{value}" is not a lifetime. Write 90m, 12h, 30d or 8w.', param, ctx)
        return int(written[1]) * _UNITS[written[2]]


@click.group(
    epilog="""\b
Roles:
  submit   submits jobs, sees and controls its own
  worker   is a worker, or becomes one
  admin    may do everything

\b
Example: farm token create --role submit --name anna --expires 30d"""
)
def token() -> None:
    """Create, list and revoke access tokens."""


@token.command(epilog="Example: farm token create --role submit --name anna --expires 30d")
@click.option(
    "--role",
    type=click.Choice(["submit", "worker", "admin"]),
    default="submit",
    show_default=True,
    help="What the token allows.",
)
@click.option(
    "--name", required=True, help="Whose token it is. Jobs belong to this name, whichever of its tokens submitted them."
)
@click.option("--expires", type=Lifetime(), help="How long it is valid: 12h, 30d, 8w.  [default: forever]")
@farm_options
@json_option
def create(role: str, name: str, expires: int | None, farm: FarmAddress, as_json: bool) -> None:
    """Create a token, and print it once."""
    with farm.connect() as client:
        made = client.create_token(Role(role), name, None if expires is None else time.time() + expires)
    if as_json:
        print_json(made)
        return
    click.echo(made.secret)
    address = made.addresses[0]
    place = "on this machine, since the farm listens only here" if listens_locally(address) else "elsewhere"
    console(error=True).print(
        f"\nThat is the token {short_id(made.token.name)} of {name}; it is not shown again. To use it {place}:\n"
        f"  export FARM_ADDRESS={address} FARM_CA={made.ca_fingerprint} FARM_TOKEN={made.secret}"
    )


@token.command("list", epilog="Example: farm token list")
@farm_options
@json_option
def list_tokens(farm: FarmAddress, as_json: bool) -> None:
    """List all tokens, including expired and revoked ones."""
    with farm.connect() as client:
        listed = list(client.tokens())
    if as_json:
        print_json(listed)
        return
    print_table(
        ("TOKEN", "ROLE", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"),
        (
            (
                short_id(one.name),
                access_pb2.Role.Name(one.role).removeprefix("ROLE_").lower(),
                one.display_name,
                _state(one),
                local_time(one.create_time),
                local_time(one.expire_time) if one.HasField("expire_time") else "never",
                local_time(one.last_use_time) if one.HasField("last_use_time") else "never",
            )
            for one in listed
        ),
        nothing="There are no tokens.",
    )


@token.command(epilog="Example: farm token revoke 4f1c09aa")
@click.argument("token_ids", metavar="TOKEN...", nargs=-1, required=True)
@farm_options
@json_option
def revoke(token_ids: tuple[str, ...], farm: FarmAddress, as_json: bool) -> None:
    """Revoke tokens, at once and for good."""
    with farm.connect() as client:
        revoked = [client.revoke_token(token_id) for token_id in token_ids]
    if as_json:
        print_json(revoked)
        return
    for one in revoked:
        click.echo(f"{short_id(one.name)} of {one.display_name} is revoked.")


def _state(message: access_pb2.Token) -> str:
    if message.HasField("revoke_time"):
        return "used" if message.role == access_pb2.ROLE_JOIN else "revoked"
    expired = message.HasField("expire_time") and message.expire_time.seconds <= time.time()
    return "expired" if expired else "valid"
