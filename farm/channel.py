"""Channels to a farm that carry the caller's token in each call, blocking and asyncio."""

from collections.abc import Callable
from typing import Any, cast

import grpc

from farm.access.client_access import ClientAccess
from farm.api.requests import AUTHORIZATION_METADATA, MAX_MESSAGE_BYTES

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A farm that vanished without a word (a lid closed, another Wi-Fi) is noticed within about a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def open_channel(access: ClientAccess) -> grpc.Channel:
    """A channel for calls that block."""
    return cast("grpc.Channel", _Authorized(_open(grpc, access), access.token))


def open_async_channel(access: ClientAccess) -> grpc.aio.Channel:
    """A channel for calls on the event loop that runs now."""
    return cast("grpc.aio.Channel", _Authorized(_open(grpc.aio, access), access.token))


def _open(library: Any, access: ClientAccess) -> Any:
    if access.authority_pem is None:
        return library.insecure_channel(access.address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(access.authority_pem)
    return library.secure_channel(access.address, credentials, options=_OPTIONS)


class _Authorized:
    """What stubs need of a channel.

    gRPC's own call credentials refuse a channel without TLS, also on loopback, and its asyncio interceptors change how
    streams are cancelled.
    """

    def __init__(self, channel: Any, token: Callable[[], str | None]) -> None:
        self._channel = channel
        self._token = token
        self.close = channel.close

    def unary_unary(self, *arguments: Any, **options: Any) -> "_Call":
        return _Call(self._channel.unary_unary(*arguments, **options), self._token)

    def unary_stream(self, *arguments: Any, **options: Any) -> "_Call":
        return _Call(self._channel.unary_stream(*arguments, **options), self._token)

    def stream_unary(self, *arguments: Any, **options: Any) -> "_Call":
        return _Call(self._channel.stream_unary(*arguments, **options), self._token)

    def stream_stream(self, *arguments: Any, **options: Any) -> "_Call":
        return _Call(self._channel.stream_stream(*arguments, **options), self._token)

    def __enter__(self) -> "_Authorized":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Call:
    """A method of a stub, which adds the token to what its caller says."""

    def __init__(self, call: Any, token: Callable[[], str | None]) -> None:
        self._call = call
        self._token = token

    def __call__(self, request: Any, *, metadata: Any = (), **options: Any) -> Any:
        return self._call(request, metadata=self._with_token(metadata), **options)

    def future(self, request: Any, *, metadata: Any = (), **options: Any) -> Any:
        return self._call.future(request, metadata=self._with_token(metadata), **options)

    def _with_token(self, metadata: Any) -> Any:
        token = self._token()
        return metadata if token is None else (*metadata, (AUTHORIZATION_METADATA, f"Bearer {token}"))
