"""A connection to a farm: how its calls are made, and how their failures are told."""

import getpass
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from farm.api.requests import MAX_MESSAGE_BYTES, SUBMITTER_METADATA
from farm.api.status import from_call
from farm.errors import UnreachableError
from farm.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc, model_service_pb2_grpc, worker_service_pb2_grpc

M = TypeVar("M")

CALL_SECONDS = 60.0

_RECONNECT_SECONDS = 0.5
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Connection:
    """The stubs of a farm's services, and the ways to call them.

    Args:
        address: Where the farm listens.
        patience_seconds: How long a broken stream waits for the farm to come back.
    """

    def __init__(self, address: str, patience_seconds: float) -> None:
        self.address = address
        self._patience_seconds = patience_seconds
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection, and what still runs over it."""
        self._channel.close()

    def send(self, messages: Iterator[job_service_pb2.SubmitJobRequest]) -> job_pb2.Job:
        """Streams a submission; a failure of `messages` takes the call back before the farm can accept half a batch."""
        failures: list[Exception] = []
        started = threading.Event()

        def guarded() -> Iterator[job_service_pb2.SubmitJobRequest]:
            try:
                yield from messages
            except Exception as error:  # noqa: BLE001 - gRPC reads this on its own thread; raised again below
                failures.append(error)
                started.wait()
                call.cancel()

        call = self.jobs.SubmitJob.future(guarded(), metadata=((SUBMITTER_METADATA, _user()),))
        started.set()
        try:
            return call.result()
        except grpc.FutureCancelledError:  # only `guarded` cancels while this waits
            raise failures[0] from None
        except grpc.RpcError as error:
            raise failures[0] if failures else from_call(error, self.address) from None
        finally:
            call.cancel()

    def call(self, method: Callable[..., M], request: object) -> M:
        """Makes a call that has one answer."""
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise from_call(error, self.address) from None

    def pages(self, method: Callable[..., M], request: Any) -> Iterator[M]:
        """Every page of a list."""
        while True:
            page: Any = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def resumed(self, open_stream: Callable[[], Iterator[M]]) -> Iterator[M]:
        """Reads a stream, and opens it again where it breaks: `open_stream` knows from where to go on."""
        received = False
        broken_since: float | None = None
        while True:
            try:
                for message in open_stream():
                    received, broken_since = True, None
                    yield message
            except grpc.RpcError as error:
                failure = from_call(error, self.address)
                broken_since = broken_since or time.monotonic()
                patient = received and time.monotonic() - broken_since < self._patience_seconds
                if not (patient and isinstance(failure, UnreachableError)):
                    raise failure from None
                time.sleep(_RECONNECT_SECONDS)
            else:
                return


def _user() -> str:
    """Who submits: this machine's user name, in the ASCII that metadata can carry."""
    return getpass.getuser().encode("ascii", "replace").decode()
