"""Turns what a servicer raises into a status, at one place for all methods."""

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc_status import rpc_status

from farm.api.status import to_status
from farm.errors import FarmError

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Behaviour = Callable[[Any, Any], Any]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers a `FarmError` with its status, and anything else with INTERNAL and an id that finds it in the log."""

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """Wraps the farm's own methods; health and reflection answer for themselves."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/farm."):
            return handler
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_guard(handler.unary_unary, method), *codecs)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_guard(handler.stream_unary, method), *codecs)
        assert handler.unary_stream, f"{method} is of a kind that no method of the farm is"
        return grpc.unary_stream_rpc_method_handler(_guard_stream(handler.unary_stream, method), *codecs)


def _guard(behaviour: _Behaviour, method: str) -> _Behaviour:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing else may reach the client
            await _abort(context, error, method)

    return guarded


def _guard_stream(behaviour: _Behaviour, method: str) -> _Behaviour:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async with contextlib.aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:  # noqa: BLE001 - as above
            await _abort(context, error, method)

    return guarded


async def _abort(context: Context, error: Exception, method: str) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # a servicer has answered already
        raise error
    if not isinstance(error, FarmError):
        log_id = uuid.uuid4().hex[:12]
        log.error("api.unexpected_error log_id=%s method=%s", log_id, method, exc_info=error)
        error = FarmError(
            f"The farm met an unexpected error. Its log says more under the id {log_id}; please report it.",
            log_id=log_id,
        )
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
