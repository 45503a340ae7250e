"""What a worker's daemon and its coordinator say to each other, and how that is written as bytes.

MessagePack, by the dataclasses themselves: reading it can do nothing but make such objects, whoever wrote it.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from farm.domain import Assignment, AttemptKey, WorkerFacts
from farm.reports import AttemptReport, ImageFailureReport, ImageReport, Report

KeptReport = ImageReport | ImageFailureReport | AttemptReport
"""Reports that a daemon keeps until the coordinator has taken them."""


class Refusal(enum.Enum):
    """Why a worker cannot take part."""

    NAME_TAKEN = "NAME_TAKEN"
    VERSION_MISMATCH = "VERSION_MISMATCH"


@dataclass(frozen=True, slots=True)
class Hello:
    """From the daemon, first on every connection: who it is, and the attempts that it holds or has results of.

    Attributes:
        worker_id: Its name in the farm.
        origin: Identity of the folder that it keeps. Another one under the same name is another worker.
        facts: What it can render.
        attempts: What it holds or has results of.
    """

    worker_id: str
    origin: str
    facts: WorkerFacts
    attempts: frozenset[AttemptKey]


@dataclass(frozen=True, slots=True)
class Beat:
    """From the daemon, every two seconds: its own thread lives, which is more than its process does."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """From the daemon, last: it was told to stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """From the daemon, last over a bridge: it has another one now."""


@dataclass(frozen=True, slots=True)
class Told:
    """From the daemon: what its renderer reports.

    Attributes:
        report: The report.
        number: The daemon's own number of a report that it keeps until that number is acknowledged. It is offered again
            on every new connection until then. None for a report that may be lost.
    """

    report: Report
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """To the daemon: stop the attempt at its next step."""

    key: AttemptKey


@dataclass(frozen=True, slots=True)
class Release:
    """To the daemon: finish the image that is being rendered and give the rest of the attempt back."""

    key: AttemptKey


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """To the daemon: the report of that number is on the coordinator's disk, or was refused; it need not be kept."""

    number: int


@dataclass(frozen=True, slots=True)
class Refused:
    """To the daemon, in answer to its greeting: it cannot take part, and is to end.

    Every version of the farm must be able to read this one: fields may be added to it, with defaults, and none changed.

    Attributes:
        reason: Why, and what to do, in words.
        refusal: Which case it is.
    """

    reason: str
    refusal: Refusal = Refusal.NAME_TAKEN


FromDaemon = Hello | Beat | Farewell | Replaced | Told
ToDaemon = Assignment | Cancel | Release | Acknowledge | Refused
Message = FromDaemon | ToDaemon

_PLAIN: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Hello, Beat, Farewell, Replaced, Assignment, Cancel, Release, Acknowledge, Refused)
}
_REPORTS: Mapping[str, Any] = {kind.__name__: kind for kind in Report.__args__}


def encode(message: Message) -> bytes:
    """Writes a message; `decode` reads it again."""
    if isinstance(message, Told):
        return encode_report(message.report, message.number)
    return msgspec.msgpack.encode((type(message).__name__, None, message))


def encode_report(report: Report, number: int | None) -> bytes:
    """Writes a `Told`."""
    return msgspec.msgpack.encode((type(report).__name__, number, report))


def decode(data: bytes) -> Message:
    """Reads what `encode` wrote.

    Raises:
        ValueError: It is something else.
    """
    kind, number, body = msgspec.msgpack.decode(data, type=tuple[str, int | None, msgspec.Raw])
    if kind in _REPORTS:
        return Told(msgspec.msgpack.decode(body, type=_REPORTS[kind]), number)
    if kind not in _PLAIN:
        raise ValueError(f"{kind} is not a message of this version of the farm")
    message: Message = msgspec.msgpack.decode(body, type=_PLAIN[kind])
    return message
