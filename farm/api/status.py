"""The one error table: the farm's errors as gRPC statuses with `google.rpc` details, and back.

Every status of the farm carries an `ErrorInfo` whose reason is the error class's; wrong input adds a `BadRequest` that
names each field; what trying again can mend adds a `RetryInfo`.
"""

from collections.abc import Mapping
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from farm import errors
from farm.access.hosts import is_loopback

D = TypeVar("D", bound=Message)

DOMAIN = "farm"

CODES: Mapping[type[errors.FarmError], grpc.StatusCode] = {
    errors.FarmError: grpc.StatusCode.INTERNAL,
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestIdReusedError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SubmissionUnderWayError: grpc.StatusCode.ABORTED,
    errors.BatchFileError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.JobNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ImageNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.WorkerNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.InfeasibleJobError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TimeLimitError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ScenarioError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.WrongStateError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StaleAttemptError: grpc.StatusCode.ABORTED,
    errors.ArtifactError: grpc.StatusCode.DATA_LOSS,
    errors.JournalError: grpc.StatusCode.INTERNAL,
    errors.DiskFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.PackageError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConversionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.FeedError: grpc.StatusCode.INTERNAL,
    errors.FetchError: grpc.StatusCode.UNAVAILABLE,
    errors.PipelineError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ImageFailedError: grpc.StatusCode.INTERNAL,
    errors.DeviceBusyError: grpc.StatusCode.UNAVAILABLE,
    errors.AddressError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WorkerFolderError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.MembershipError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvitationError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ServiceError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutputFolderError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnreachableError: grpc.StatusCode.UNAVAILABLE,
    errors.AccessFilesError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.TokenNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.UntrustedServerError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WebhookError: grpc.StatusCode.UNAVAILABLE,
    errors.VersionMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WorkerNameTakenError: grpc.StatusCode.ALREADY_EXISTS,
}
"""A class that is not listed has the code of its nearest listed ancestor."""

_RETRY_SECONDS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.ABORTED: 1,
    grpc.StatusCode.UNAVAILABLE: 5,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 30,
}

MAX_VIOLATIONS = 20

# A status travels in the trailers, and most clients take no more than 8 KiB of those. What it says may hold whatever a
# client sent, and grows on its way: the message to three times its bytes, everything with it again by a third.
_MESSAGE_BYTES = 800
_METADATA_BYTES = 160
_VIOLATION_BYTES = 200
_VIOLATIONS_BYTES = 2400


def to_status(error: errors.FarmError) -> status_pb2.Status:
    """The status that tells a client of `error`."""
    code = next(CODES[ancestor] for ancestor in type(error).__mro__ if ancestor in CODES)
    details: list[Message] = [_error_info(error.reason, error.metadata)]
    if isinstance(error, errors.InvalidRequestError) and error.violations:
        details.append(_bad_request(error.violations))
    if code in _RETRY_SECONDS:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_RETRY_SECONDS[code])))
    return _status(code, error.message, details)


def failure_status(reason: str, message: str) -> status_pb2.Status:
    """Why a job or an image failed: a fact about the resource, not the outcome of a call."""
    return _status(grpc.StatusCode.ABORTED, message, [_error_info(reason, {})])


def _status(code: grpc.StatusCode, message: str, details: list[Message]) -> status_pb2.Status:
    packed = [Any() for _ in details]
    for holder, detail in zip(packed, details, strict=True):
        holder.Pack(detail)
    return status_pb2.Status(code=code.value[0], message=_cut(message, _MESSAGE_BYTES), details=packed)


def _cut(text: str, limit: int) -> str:
    """As much of `text` as fits into so many bytes."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore") + "…"


def _error_info(reason: str, metadata: Mapping[str, str]) -> error_details_pb2.ErrorInfo:
    cut = {name: _cut(value, _METADATA_BYTES) for name, value in metadata.items()}
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=cut)


def _bad_request(violations: Mapping[str, str]) -> error_details_pb2.BadRequest:
    """The first violations, as many as fit into the trailers."""
    bad_request = error_details_pb2.BadRequest()
    for field, description in list(violations.items())[:MAX_VIOLATIONS]:
        bad_request.field_violations.add(
            field=_cut(field, _VIOLATION_BYTES), description=_cut(description, _VIOLATION_BYTES)
        )
        if bad_request.ByteSize() > _VIOLATIONS_BYTES:
            break
    return bad_request


def from_call(call: grpc.RpcError, address: str) -> errors.FarmError:
    """The error that a failed call stands for, as the class that the farm raised.

    Args:
        call: What gRPC raised.
        address: Where the farm was looked for, to say so if it does not answer.
    """
    assert isinstance(call, grpc.Call | grpc.aio.AioRpcError)
    status = rpc_status.from_call(call)
    infos = [] if status is None else _unpack(status, error_details_pb2.ErrorInfo)
    if not infos:
        return _foreign_error(call, address)
    error = _classes().get(infos[0].reason, errors.FarmError)(status.message)
    error.metadata = dict(infos[0].metadata)
    if isinstance(error, errors.InvalidRequestError):
        error.violations = {
            violation.field: violation.description
            for bad_request in _unpack(status, error_details_pb2.BadRequest)
            for violation in bad_request.field_violations
        }
    return error


def _foreign_error(call: grpc.Call | grpc.aio.AioRpcError, address: str) -> errors.FarmError:
    """An error that the farm did not raise: the connection's, or of a server that is no farm."""
    match call.code():
        case grpc.StatusCode.UNAVAILABLE if "handshake failed" in (call.details() or ""):
            return errors.UntrustedServerError(
                f"What answers at {address} cannot prove that it is the farm: its certificate is not of the authority "
                "that FARM_CA (or --ca) names or does not hold this host name or address, or it speaks no TLS. Compare "
                "with what `farm coordinator` printed when it started; for another name of the same machine, start it "
                "with --hostname.",
                address=address,
            )
        case grpc.StatusCode.UNAVAILABLE:
            return errors.UnreachableError(f"No farm answers at {address}. {_next_step(address)}", address=address)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.UnreachableError(
                f"The farm at {address} did not answer in time. It may be starting or overloaded; try again.",
                address=address,
            )
        case grpc.StatusCode.CANCELLED:
            return errors.UnreachableError(
                f"The farm at {address} ended the call: it is being stopped.", address=address
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.FarmError(f"What listens at {address} does not know this call: it is an older farm, or none.")
        case code:
            return errors.FarmError(f"The call to {address} failed with {code.name}: {call.details()}")


def _next_step(address: str) -> str:
    """What to do where no farm answers."""
    if address.startswith("unix:") or is_loopback(address.rpartition(":")[0]):
        return "Start one on this machine with `farm up`, or name another with --address or FARM_ADDRESS."
    return (
        "Is it running there with --listen, is the address (--address, FARM_ADDRESS, or in the invitation line) right, "
        "and does a firewall let this machine through?"
    )


def _unpack(status: status_pb2.Status, kind: type[D]) -> list[D]:
    found = []
    for detail in status.details:
        message = kind()
        if detail.Is(kind.DESCRIPTOR) and detail.Unpack(message):
            found.append(message)
    return found


def _classes() -> dict[str, type[errors.FarmError]]:
    """Each error class by its reason."""
    known = [errors.FarmError]
    for ancestor in known:
        known.extend(ancestor.__subclasses__())
    return {cls.reason: cls for cls in known}
