"""Options that commands share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from farm.api.address import DEFAULT_ADDRESS, DEFAULT_WEB_ADDRESS
from farm.installation import data_folder

if TYPE_CHECKING:
    from farm.client import AsyncClient, Client

T = TypeVar("T")


def is_given(context: click.Context, name: str) -> bool:
    """Whether a parameter is on the command line itself, and not only in the environment or a default."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def inherited(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """What a command's group was given before the command's name, where the command is not given it itself.

    As an option's `callback`: `farm models --address X list` lists the models of X.
    """
    name = parameter.name
    if name is None or context.parent is None or is_given(context, name) or not is_given(context.parent, name):
        return value
    handed_on: T = context.parent.params[name]
    return handed_on


def check_inherited(context: click.Context) -> None:
    """Refuses options of a group that the command after it does not have, since they would be ignored.

    Raises:
        click.UsageError: There is one.
    """
    assert isinstance(context.command, click.Group)
    command = context.command.get_command(context, context.invoked_subcommand or "")
    known = {parameter.name for parameter in command.params} if command else set()
    for parameter in context.command.params:
        if parameter.name and parameter.name not in known and is_given(context, parameter.name):
            raise click.UsageError(f"{context.command_path} {context.invoked_subcommand} has no {parameter.opts[0]}.")


address_option = click.option(
    "--address",
    callback=inherited,
    envvar="FARM_ADDRESS",
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where the farm listens.",
)


@dataclass(frozen=True, slots=True)
class FarmAddress:
    """Which farm a command calls, and with what, as far as its user says."""

    address: str
    token: str | None
    ca: str | None

    def connect(self) -> "Client":
        """A client of that farm."""
        from farm.client import Client

        return Client(self.address, token=self.token, ca=self.ca)

    def connect_async(self) -> "AsyncClient":
        """The same for the event loop that runs now."""
        from farm.client import AsyncClient

        return AsyncClient(self.address, token=self.token, ca=self.ca)


def farm_options(command: Callable[..., T]) -> Callable[..., T]:
    """Gives a command the options that say which farm it calls, as its argument `farm`."""

    @address_option
    @click.option(
        "--token",
        metavar="TOKEN",
        callback=inherited,
        help="Token to call with.  [default: FARM_TOKEN, or the token of your own farm on this machine]",
    )
    @click.option(
        "--ca",
        metavar="FILE|sha256:HEX",
        callback=inherited,
        help="What a farm on another machine is verified with: its ca.pem, or a fingerprint.  [default: FARM_CA]",
    )
    @functools.wraps(command)
    def with_farm(*arguments: Any, address: str, token: str | None, ca: str | None, **options: Any) -> T:
        return command(*arguments, farm=FarmAddress(address, token, ca), **options)

    return with_farm


listen_option = click.option(
    "--listen",
    "--address",
    "address",
    envvar=["FARM_LISTEN", "FARM_ADDRESS"],
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where to listen. On any address beyond loopback (0.0.0.0:7433) the farm uses TLS; a token is always "
    "required.",
)

web_listen_option = click.option(
    "--web-listen",
    "web_address",
    envvar="FARM_WEB_LISTEN",
    default=DEFAULT_WEB_ADDRESS,
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help='Where to serve the web page, or "none". On any address beyond loopback (0.0.0.0:7435) the page uses TLS.',
)

hostname_option = click.option(
    "--hostname",
    "hostnames",
    multiple=True,
    metavar="NAME",
    help="Another name by which other machines reach this one. Repeat the option for more.",
)

private_webhooks_option = click.option(
    "--private-webhooks",
    is_flag=True,
    envvar="FARM_PRIVATE_WEBHOOKS",
    show_envvar=True,
    help="Also let webhooks go to private networks and this machine; see `farm webhooks`.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, callback=inherited, help="Print JSON, with the API's field names."
)

null_renderer_option = click.option(
    "--null-renderer",
    is_flag=True,
    help="Render blank pictures instantly and without a model, to try out everything else.",
)

ray_address_option = click.option(
    "--ray-address",
    envvar="FARM_RAY_ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where Ray's head listens, and workers reach the coordinator: a numeric address and a port.  [default: the "
    "address of --listen, port 7434]",
)


def read_pairs(_context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """What an option's KEY=VALUEs say, as its `callback`."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, separator, _) in zip(texts, pairs, strict=True):
        if not key or not separator:
            raise click.BadParameter(f'"{text}" is not of the form {parameter.metavar}')
    return {key: value for key, _, value in pairs}


def _read_worker_labels(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """As pairs without spaces, which separate them in the variable."""
    for text in texts:
        if any(character.isspace() for character in text):
            raise click.BadParameter(f'"{text}" holds a space, which labels cannot')
    return read_pairs(context, parameter, texts)


LABELS_VARIABLE = "FARM_WORKER_LABELS"

worker_labels_option = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_read_worker_labels,
    envvar=LABELS_VARIABLE,
    show_envvar=True,
    help="A label of this worker, which `farm submit --worker-label` can ask for. Repeat the option for more.",
)


def default_state() -> Path:
    """Where a farm keeps its journal and its images, if nobody says otherwise."""
    return data_folder() / "state"


def _state_option(meaning: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    return click.option(
        "--state",
        envvar="FARM_STATE",
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        default=default_state,
        show_envvar=True,
        help=f"{meaning}  [default: in your user's data folder]",
    )


state_option = _state_option("Folder of the journal and the images.")

coordinator_state_option = _state_option(
    "With --ray-address: the state folder of the coordinator on this machine, which holds Ray's token."
)

stay_awake_option = click.option(
    "--stay-awake", is_flag=True, help="Keep this Mac from sleeping while it runs on mains power."
)
