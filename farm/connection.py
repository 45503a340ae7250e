"""Connections to a farm, blocking and asyncio: how calls are made, and how their failures are told and survived."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import grpc

from farm.access.client_access import ClientAccess
from farm.access.user import user_name
from farm.api.requests import SUBMITTER_METADATA, Outgoing
from farm.api.status import from_call
from farm.channel import open_async_channel, open_channel
from farm.errors import FarmError, SubmissionUnderWayError, UnauthenticatedError, UnreachableError
from farm.v1 import (
    access_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    model_service_pb2_grpc,
    worker_service_pb2_grpc,
)

M = TypeVar("M")

CALL_SECONDS = 60.0

_RECONNECT_SECONDS = 0.5


class Patience:
    """How long something that was cut off waits for the farm to come back.

    Only what had begun waits: a farm that was not there in the first place is told at once.

    Args:
        seconds: How long the farm may stay away.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._moved = False
        self._cut_at: float | None = None

    def note_progress(self) -> None:
        """A message got through."""
        self._moved = True

    def pause(self, failure: FarmError) -> float:
        """Seconds to wait before it is tried again; raises `failure` if it is not to be."""
        now = time.monotonic()
        if isinstance(failure, UnreachableError) and self._moved:
            self._cut_at, self._moved = now, False
        # A farm that did not notice the cut yet holds on to the submission for a while.
        passing = isinstance(failure, UnreachableError | SubmissionUnderWayError)
        if not passing or self._cut_at is None or now - self._cut_at >= self._seconds:
            raise failure from None
        return _RECONNECT_SECONDS


class Connection:
    """The stubs of a farm's services, and the ways to call them.

    Args:
        access: The way into the farm.
        patience_seconds: How long what a restart cuts off waits for the farm to come back.
    """

    def __init__(self, access: ClientAccess, patience_seconds: float) -> None:
        self.address = access.address
        self._access = access
        self._patience_seconds = patience_seconds
        self._channel = open_channel(access)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection, and what still runs over it."""
        self._channel.close()

    def send(self, outgoing: Outgoing) -> job_pb2.Job:
        """Streams a submission, and again if it is cut off; a failure to read it takes it back."""
        patience = Patience(self._patience_seconds)
        while True:
            try:
                return self._send(outgoing, patience)
            except FarmError as failure:
                pause = patience.pause(failure)
                outgoing.check_repeatable()
                time.sleep(pause)

    def _send(self, outgoing: Outgoing, patience: Patience) -> job_pb2.Job:
        failures: list[Exception] = []
        started = threading.Event()

        def guarded() -> Iterator[job_service_pb2.SubmitJobRequest]:
            try:
                for message in outgoing.messages():
                    yield message
                    patience.note_progress()
            except Exception as error:  # noqa: BLE001 - gRPC reads this on its own thread; raised again below
                failures.append(error)
                started.wait()
                call.cancel()

        explain = _explainer(self._access)
        call = self.jobs.SubmitJob.future(guarded(), metadata=_submitter())
        started.set()
        try:
            return call.result()
        except grpc.FutureCancelledError:  # only `guarded` cancels while this waits
            raise failures[0] from None
        except grpc.RpcError as error:
            raise failures[0] if failures else explain(error) from None
        finally:
            call.cancel()

    def call(self, method: Callable[..., M], request: object) -> M:
        """Makes a call that has one answer."""
        explain = _explainer(self._access)
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise explain(error) from None

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
        patience = Patience(self._patience_seconds)
        while True:
            explain = _explainer(self._access)
            try:
                for message in open_stream():
                    patience.note_progress()
                    yield message
            except grpc.RpcError as error:
                time.sleep(patience.pause(explain(error)))
            else:
                return


class AsyncConnection:
    """What `Connection` is, on the event loop that runs when it is made; arguments and methods are the same."""

    def __init__(self, access: ClientAccess, patience_seconds: float) -> None:
        self.address = access.address
        self._access = access
        self._patience_seconds = patience_seconds
        self._channel = open_async_channel(access)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the connection, and what still runs over it."""
        await self._channel.close()

    async def send(self, outgoing: Outgoing) -> job_pb2.Job:
        """Streams a submission, and again if it is cut off; a failure to read it takes it back."""
        patience = Patience(self._patience_seconds)
        while True:
            try:
                return await self._send(outgoing, patience)
            except FarmError as failure:
                pause = patience.pause(failure)
                outgoing.check_repeatable()
                await asyncio.sleep(pause)

    async def _send(self, outgoing: Outgoing, patience: Patience) -> job_pb2.Job:
        failures: list[Exception] = []

        async def guarded() -> AsyncGenerator[job_service_pb2.SubmitJobRequest, None]:
            try:
                for message in outgoing.messages():
                    yield message
                    patience.note_progress()
            except Exception as error:
                failures.append(error)
                raise  # gRPC cancels the call

        explain = _explainer(self._access)
        call = self.jobs.SubmitJob(guarded(), metadata=_submitter())
        try:
            return await call
        except grpc.RpcError as error:
            raise failures[0] if failures else explain(error) from None
        except asyncio.CancelledError:
            if failures:
                raise failures[0] from None
            raise
        finally:
            call.cancel()

    async def call(self, method: Callable[..., Awaitable[M]], request: object) -> M:
        """Makes a call that has one answer."""
        explain = _explainer(self._access)
        try:
            return await method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise explain(error) from None

    async def pages(self, method: Callable[..., Awaitable[M]], request: Any) -> AsyncGenerator[M, None]:
        """Every page of a list."""
        while True:
            page: Any = await self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def resumed(self, open_stream: "Callable[[], grpc.aio.UnaryStreamCall[Any, M]]") -> AsyncGenerator[M, None]:
        """Reads a stream, and opens it again where it breaks: `open_stream` knows from where to go on."""
        patience = Patience(self._patience_seconds)
        while True:
            explain = _explainer(self._access)
            stream = open_stream()
            try:
                async for message in stream:
                    patience.note_progress()
                    yield message
            except grpc.RpcError as error:
                await asyncio.sleep(patience.pause(explain(error)))
            else:
                return
            finally:
                stream.cancel()


def _explainer(access: ClientAccess) -> Callable[[grpc.RpcError], FarmError]:
    """What tells why a call failed that is made now.

    A farm renews the token of its own machine when it is started: who called with the one before was cut off by a
    restart, and not refused.
    """
    token = access.token()

    def explain(error: grpc.RpcError) -> FarmError:
        failure = from_call(error, access.address)
        if isinstance(failure, UnauthenticatedError) and access.token() != token:
            return UnreachableError(
                f"The farm at {access.address} was restarted while it was asked. Try again.", address=access.address
            )
        return failure

    return explain


def _submitter() -> tuple[tuple[str, str]]:
    """Who submits: this machine's user name, in the ASCII that metadata can carry."""
    return ((SUBMITTER_METADATA, user_name().encode("ascii", "replace").decode()),)
