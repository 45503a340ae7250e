"""The error table."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

import farm.errors
from farm.api.status import CODES, to_status
from farm.errors import (
    FAILURE_REASONS,
    DeviceBusyError,
    FarmError,
    InvalidRequestError,
    JobNotFoundError,
    UnsupportedOperationsError,
)


def tree(cls: type[FarmError]) -> Iterator[type[FarmError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


def test_every_error_of_the_farm_has_a_code_by_itself_or_by_an_ancestor_other_than_the_root() -> None:
    own = [cls for cls in tree(FarmError) if cls.__module__ == farm.errors.__name__ and cls is not FarmError]
    assert len(own) > 10
    for cls in own:
        assert any(ancestor in CODES for ancestor in cls.__mro__[: cls.__mro__.index(FarmError)]), cls


def test_every_reason_is_documented_with_its_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for cls in tree(FarmError):
        if cls.__module__ == farm.errors.__name__:
            code = next(CODES[ancestor] for ancestor in cls.__mro__ if ancestor in CODES)
            assert f"| `{cls.reason}` | `{code.name}` |" in page


def test_every_reason_why_jobs_and_images_fail_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    assert [reason for reason in FAILURE_REASONS if f"| `{reason}` | a" not in page] == []


def test_no_two_errors_share_a_reason() -> None:
    reasons = [cls.reason for cls in tree(FarmError) if cls.__module__ == farm.errors.__name__]
    assert len({*reasons, *FAILURE_REASONS}) == len(reasons) + len(FAILURE_REASONS)


def details(error: FarmError) -> dict[str, object]:
    found: dict[str, object] = {}
    for packed in to_status(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


def test_a_status_carries_the_message_the_reason_and_the_variables() -> None:
    error = JobNotFoundError("There is no job x.", job="x")
    status = to_status(error)
    (info,) = details(error).values()
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (status.code, status.message) == (5, "There is no job x.")
    assert (info.reason, info.domain, dict(info.metadata)) == ("JOB_NOT_FOUND", "farm", {"job": "x"})


def test_what_a_client_may_try_again_says_when() -> None:
    assert set(details(DeviceBusyError("busy"))) == {"ErrorInfo", "RetryInfo"}
    assert set(details(UnsupportedOperationsError("no"))) == {"ErrorInfo"}


@pytest.mark.parametrize("count", [1, 3, 100_000])
def test_wrong_fields_are_named_from_the_first_on(count: int) -> None:
    violations = dict.fromkeys((f"entries[{index}].steps" for index in range(count)), "is 0; it must be from 1 to 1000")
    (bad_request,) = [
        found
        for found in details(InvalidRequestError("wrong", violations)).values()
        if isinstance(found, error_details_pb2.BadRequest)
    ]
    named = [violation.field for violation in bad_request.field_violations]
    assert named == list(violations)[: min(count, 20)]


@given(
    st.sampled_from("x%ä☆💫\n"),
    st.integers(1, 30_000),
    st.integers(0, 100),
)
def test_a_status_never_outgrows_the_trailers_whatever_a_client_sent(
    character: str, length: int, violation_count: int
) -> None:
    text = character * length
    violations = {f"spec.labels[{index}]": text for index in range(violation_count)}
    status = to_status(InvalidRequestError(text, violations, model=text, file=text))
    percent_encoded, base64 = len(quote(status.message)), len(b64encode(status.SerializeToString()))
    assert percent_encoded + base64 < 8000
