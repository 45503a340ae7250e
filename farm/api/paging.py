"""Page tokens: opaque to clients, and good only for the list that they came from."""

import base64
import binascii
import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from farm.api.codec import invalid
from farm.v1 import access_service_pb2, job_service_pb2, model_service_pb2, worker_service_pb2

T = TypeVar("T")

PagedRequest = (
    job_service_pb2.ListJobsRequest
    | job_service_pb2.ListImagesRequest
    | worker_service_pb2.ListWorkersRequest
    | model_service_pb2.ListModelsRequest
    | access_service_pb2.ListTokensRequest
)

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class AfterJob:
    """The last job of a page."""

    create_time: float
    job_id: str


@dataclass(frozen=True, slots=True)
class AfterImage:
    """The last image of a page."""

    index: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class AfterName:
    """The last element of a page that is sorted by name."""

    name: str


Place = AfterJob | AfterImage | AfterName
P = TypeVar("P", AfterJob, AfterImage, AfterName)


def page_size(requested: int) -> int:
    """How many elements a page may have: 0 asks for the default, and more than the most gets the most.

    Raises:
        InvalidRequestError: `requested` is negative.
    """
    if requested < 0:
        raise invalid("page_size", f"is {requested}; it must not be negative")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def write_token(request: PagedRequest, place: Place) -> str:
    """The token for the page after `place` of the list that `request` asked for."""
    return base64.urlsafe_b64encode(msgspec.json.encode((_fingerprint(request), place))).decode()


def read_token(request: PagedRequest, kind: type[P]) -> P | None:
    """Where the page before ended; None for the first page.

    Raises:
        InvalidRequestError: The token is damaged, or of a list with other arguments.
    """
    if not request.page_token:
        return None
    try:
        raw = base64.b64decode(request.page_token, altchars=b"-_", validate=True)
        fingerprint, encoded = msgspec.json.decode(raw, type=tuple[str, msgspec.Raw])
        place = msgspec.json.decode(encoded, type=kind)
    except (binascii.Error, ValueError):
        raise invalid("page_token", "is not one that this farm gave out") from None
    if fingerprint != _fingerprint(request):
        raise invalid("page_token", "belongs to a list with other arguments; repeat them, or start from the first page")
    return place


def _fingerprint(request: PagedRequest) -> str:
    """Names a list: its request but for the place in the list and the size of the page."""
    arguments = copy.copy(request)
    arguments.ClearField("page_token")
    arguments.ClearField("page_size")
    name = f"{request.DESCRIPTOR.full_name}:".encode()
    return hashlib.sha256(name + arguments.SerializeToString(deterministic=True)).hexdigest()[:16]


def page_by_name(request: PagedRequest, items: Iterable[T], name: Callable[[T], str]) -> tuple[list[T], str]:
    """One page of a short list that is sorted by name, and the token for the next."""
    after = read_token(request, AfterName)
    size = page_size(request.page_size)
    rest = sorted((item for item in items if after is None or name(item) > after.name), key=name)
    page = rest[:size]
    return page, write_token(request, AfterName(name(page[-1]))) if len(rest) > size else ""
