"""A worker as a service of the system: launchd on macOS, systemd on Linux, from the templates in deploy/."""

import os
import plistlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from farm.errors import ServiceError
from farm.installation import NAME

TEMPLATES = files("farm") / "assets" / "deploy"
"""The project's deploy/ folder, which an installed package has as data."""

LABEL = f"{NAME}.worker"
UNIT = "farm-worker.service"

_KEPT_VARIABLES = ("FARM_MODELS",)
_COMMAND_SECONDS = 60.0
_LOAD_SECONDS = 10.0
"""launchd may still be ending the service of before when the new one is loaded."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as it is to be installed.

    Attributes:
        path: Where its description goes.
        description: The content of that file.
        folder: The worker's folder as that content names it.
        log: Where what it logs can be read, as a file or a command.
        load: Commands that start it now and at each start of the machine; the last is tried again for a while.
        unload: Commands that stop it for good.
        hint: What else its user should know.
    """

    path: Path
    description: bytes
    folder: bytes
    log: str
    load: tuple[tuple[str, ...], ...]
    unload: tuple[tuple[str, ...], ...]
    hint: str = ""


def worker_service(folder: Path, variables: Mapping[str, str] | None = None) -> Service:
    """The worker of a folder as a service of this machine, with these variables and those that are kept anyway."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(variables or {})
    if sys.platform == "darwin":
        return launchd_agent(folder, Path.home(), os.getuid(), environment)
    return systemd_unit(folder, Path.home(), os.getuid(), environment)


def launchd_agent(folder: Path, home: Path, uid: int, environment: Mapping[str, str]) -> Service:
    """A launchd agent: runs while its user is logged in.

    Args:
        folder: The worker's folder.
        home: The user's home.
        uid: The user's id.
        environment: Variables for it.
    """
    log = home / "Library" / "Logs" / NAME / "worker.log"
    values = {"PYTHON": sys.executable, "FOLDER": str(folder), "LOG": str(log)}
    template = plistlib.loads((TEMPLATES / "launchd" / f"{LABEL}.plist").read_bytes())
    description = _filled(template, values) | ({"EnvironmentVariables": dict(environment)} if environment else {})
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    domain = f"gui/{uid}"
    return Service(
        path=path,
        description=plistlib.dumps(description),
        folder=escape(str(folder)).encode(),
        log=str(log),
        load=(("launchctl", "enable", f"{domain}/{LABEL}"), ("launchctl", "bootstrap", domain, str(path))),
        unload=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
        hint="It runs while you are logged in: for a Mac without a screen, set up automatic login.",
    )


def systemd_unit(folder: Path, home: Path, uid: int, environment: Mapping[str, str]) -> Service:
    """A systemd unit: the user's own, or the machine's if the user is root; arguments as of `launchd_agent`."""
    is_root = uid == 0
    values = {
        "PYTHON": _quoted(sys.executable).replace("$", "$$"),
        "FOLDER": _quoted(str(folder)).replace("$", "$$"),
        "TARGET": "multi-user.target" if is_root else "default.target",
    }
    description = str(_filled((TEMPLATES / "systemd" / UNIT).read_text(), values))
    variables = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in environment.items())
    units = Path("/etc/systemd/system") if is_root else home / ".config" / "systemd" / "user"
    scope = () if is_root else ("--user",)
    return Service(
        path=units / UNIT,
        description=description.replace("Type=exec\n", f"Type=exec\n{variables}").encode(),
        folder=values["FOLDER"].encode(),
        log=" ".join(("journalctl", *scope, "-u", UNIT)),
        load=(("systemctl", *scope, "daemon-reload"), ("systemctl", *scope, "enable", "--now", UNIT)),
        unload=(("systemctl", *scope, "disable", "--now", UNIT),),
        hint="" if is_root else "It runs while you are logged in; `loginctl enable-linger` lets it run always.",
    )


def install(service: Service) -> None:
    """Writes a service's description and starts it, in the place of an earlier one.

    Raises:
        ServiceError: The system did not take it.
    """
    if service.path.exists():
        _remove(service)
    try:
        if service.log.startswith("/"):
            Path(service.log).parent.mkdir(parents=True, exist_ok=True)
        service.path.parent.mkdir(parents=True, exist_ok=True)
        service.path.write_bytes(service.description)
    except OSError as error:
        raise ServiceError(f"The service cannot be installed: {error}.") from error
    *before, last = service.load
    for command in before:
        _check(command, _run(command))
    deadline = time.monotonic() + _LOAD_SECONDS
    while (problem := _run(last)) and time.monotonic() < deadline:
        time.sleep(1)
    _check(last, problem)


def is_installed(service: Service) -> bool:
    """Whether the service is there, for the same folder."""
    return service.path.exists() and service.folder in service.path.read_bytes()


def uninstall(service: Service) -> bool:
    """Stops a service and removes its description; returns whether it was there.

    Raises:
        ServiceError: It cannot be removed.
    """
    if not is_installed(service):
        return False
    _remove(service)
    return True


def _remove(service: Service) -> None:
    for command in service.unload:
        _run(command)  # fails if it does not run, which is what is wanted
    try:
        service.path.unlink()
    except OSError as error:
        raise ServiceError(f"The service is stopped, but {service.path} cannot be removed: {error}.") from error


def _check(command: Sequence[str], problem: str) -> None:
    if problem:
        raise ServiceError(
            f"The service is written, but `{' '.join(command)}` failed: {problem}. Run that command by hand to see "
            "more; `farm worker run` does the same work in the foreground."
        )


def _run(command: Sequence[str]) -> str:
    """Runs a command; what went wrong, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """A template with each @NAME@ replaced, in every string of it."""
    if isinstance(template, str):
        for name, value in values.items():
            template = template.replace(f"@{name}@", value)
        return template
    if isinstance(template, list):
        return [_filled(item, values) for item in template]
    if isinstance(template, dict):
        return {key: _filled(item, values) for key, item in template.items()}
    return template


def _quoted(word: str) -> str:
    """A word as systemd reads it (systemd.syntax(7)); in commands `$` has a meaning besides."""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        word = word.replace(character, escaped)
    return f'"{word}"'
