"""Who makes the call that is being answered."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from grpc_status import rpc_status

from farm.access.tokens import Role, Token, Tokens
from farm.api.interceptor import Context
from farm.api.permissions import check_permission, is_open
from farm.api.requests import AUTHORIZATION_METADATA, SUBMITTER_METADATA
from farm.api.status import to_status
from farm.errors import FarmError, UnauthenticatedError

_BEARER = "bearer "
_CALLER: ContextVar[Token] = ContextVar("caller")
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def caller() -> Token:
    """The token of the call that is being answered."""
    return _CALLER.get()


@contextmanager
def calling_as(token: Token) -> Iterator[None]:
    """Answers calls of a caller who came by another way than gRPC."""
    reset = _CALLER.set(token)
    try:
        yield
    finally:
        _CALLER.reset(reset)


def owner_only() -> str | None:
    """Whose jobs the caller may see; None for everybody's."""
    return None if caller().role is Role.ADMIN else caller().display_name


def submitter(context: Context) -> str:
    """Whose a job is that the caller submits: its token's owner, or whom an admin names in the metadata."""
    claimed = dict(context.invocation_metadata() or ()).get(SUBMITTER_METADATA, "")
    return owner_only() or str(claimed) or caller().display_name


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Lets in who carries a token that counts and whose role allows the call.

    Args:
        tokens: Those that the farm knows.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """Answers a call, or refuses it before anything of its request is read."""
        method = handler_call_details.method
        if is_open(method):
            return await continuation(handler_call_details)
        try:
            token = self._tokens.verify(_secret(handler_call_details.invocation_metadata))
            check_permission(token, method)
        except FarmError as error:
            return _refusal(error)
        # Handler and behaviour run in the task that asks for the handler, so this holds for the whole call.
        _CALLER.set(token)
        return await continuation(handler_call_details)


def _secret(metadata: Any) -> str:
    value = str(dict(metadata or ()).get(AUTHORIZATION_METADATA, ""))
    if value[: len(_BEARER)].lower() != _BEARER:
        raise UnauthenticatedError(
            "Every call needs a token. On the farm's own machine, commands of the user that started it find theirs by "
            "themselves; elsewhere, put one that `farm token create` printed into FARM_TOKEN or --token."
        )
    return value[len(_BEARER) :]


def _refusal(error: FarmError) -> "_Handler":
    status = rpc_status.to_status(to_status(error))

    async def refuse(_: Any, context: Context) -> None:
        await context.abort(status.code, status.details, status.trailing_metadata)

    return grpc.stream_stream_rpc_method_handler(refuse)  # of all kinds: it reads no message and sends none
