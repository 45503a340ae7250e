"""Page tokens: opaque to clients, and good only for the list that they came from."""

import base64
import binascii
import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import TypeVar

from farm.api.codec import invalid
from farm.v1 import job_service_pb2, model_service_pb2, worker_service_pb2

T = TypeVar("T")

PagedRequest = (
    job_service_pb2.ListJobsRequest
    | job_service_pb2.ListImagesRequest
    | worker_service_pb2.ListWorkersRequest
    | model_service_pb2.ListModelsRequest
)

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

Key = list[str | int | float]
"""Where a page ended: the sort key of its last element."""


def page_size(requested: int) -> int:
    """How many elements a page may have: 0 asks for the default, and more than the most gets the most.

    Raises:
        InvalidRequestError: `requested` is negative.
    """
    if requested < 0:
        raise invalid("page_size", f"is {requested}; it must not be negative")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def write_token(request: PagedRequest, key: Key) -> str:
    """The token for the page after `key` of the list that `request` asked for."""
    return base64.urlsafe_b64encode(json.dumps([_fingerprint(request), key]).encode()).decode()


def read_token(request: PagedRequest) -> Key | None:
    """Where the page before ended; None for the first page.

    Raises:
        InvalidRequestError: The token is damaged, or of a list with other arguments.
    """
    if not request.page_token:
        return None
    try:
        fingerprint, key = json.loads(base64.b64decode(request.page_token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise invalid("page_token", "is not one that this farm gave out") from None
    if fingerprint != _fingerprint(request) or not isinstance(key, list):
        raise invalid("page_token", "belongs to a list with other arguments; repeat them, or start from the first page")
    return key


def _fingerprint(request: PagedRequest) -> str:
    """Names a list: its request but for the place in the list and the size of the page."""
    arguments = copy.copy(request)
    arguments.ClearField("page_token")
    arguments.ClearField("page_size")
    name = f"{request.DESCRIPTOR.full_name}:".encode()
    return hashlib.sha256(name + arguments.SerializeToString(deterministic=True)).hexdigest()[:16]


def page_by_name(request: PagedRequest, items: Iterable[T], name: Callable[[T], str]) -> tuple[list[T], str]:
    """One page of a short list that is sorted by name, and the token for the next."""
    key = read_token(request)
    size = page_size(request.page_size)
    rest = sorted((item for item in items if key is None or name(item) > str(key[0])), key=name)
    page = rest[:size]
    return page, write_token(request, [name(page[-1])]) if len(rest) > size else ""
