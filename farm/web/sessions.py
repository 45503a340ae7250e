"""What the server signs, so that it outlives a restart: cookies that stand for a token, and links to one image."""

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from farm.access.files import kept_key
from farm.access.tokens import Token, Tokens
from farm.errors import UnauthenticatedError

SESSION_SECONDS = 30 * 86400.0
LINK_SECONDS = 3600.0

_KEY_FILE = "sessions.key"


class Sessions:
    """Makes cookies for tokens, and finds the token of a cookie.

    Args:
        key: Signs them.
        tokens: Those that the farm knows; a cookie counts only as long as its token does.
        now: Tells the time, in seconds since the epoch.
    """

    def __init__(self, key: bytes, tokens: Tokens, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._tokens = tokens
        self._now = now

    @classmethod
    def open(cls, folder: Path, tokens: Tokens) -> Self:
        """Takes the key from the folder of access; makes it the first time.

        Raises:
            AccessFilesError: It cannot be read or written.
        """
        return cls(kept_key(folder / _KEY_FILE), tokens)

    @property
    def cookie_name(self) -> str:
        """Another one for each farm: browsers keep one cookie of a name for all ports of a host."""
        return f"farm_{hashlib.sha256(self._key).hexdigest()[:8]}"

    def cookie(self, token: Token) -> str:
        """What a browser shows from now on in place of the token's secret."""
        claim = f"{token.token_id}.{round(self._now() + SESSION_SECONDS)}"
        return f"{claim}.{self._signature(claim)}"

    def token(self, cookie: str) -> Token:
        """The token that a cookie stands for.

        Raises:
            UnauthenticatedError: It is none of ours or has expired, or its token has, or was revoked.
        """
        claim, _, signature = cookie.rpartition(".")
        token_id, _, expiry = claim.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(claim).encode()) or self._now() >= int(expiry):
            raise UnauthenticatedError("This browser is not logged in any more. Log in with a token.")
        return self._tokens.current(token_id)

    def link(self, path: str) -> str:
        """`path` with what lets whoever holds the link read it for an hour, without a token."""
        expiry = round(self._now() + LINK_SECONDS)
        return f"{path}?expires={expiry}&signature={self._signature(f'{path}?{expiry}')}"

    def check_link(self, path: str, expiry: str, signature: str) -> None:
        """Makes sure that a link is one that `link` made.

        Raises:
            UnauthenticatedError: It is none of ours, or has expired.
        """
        right = hmac.compare_digest(signature.encode(), self._signature(f"{path}?{expiry}").encode())
        if not right or self._now() >= int(expiry):
            raise UnauthenticatedError("This link has expired, or is not this farm's. `farm pull` fetches the image.")

    def _signature(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), hashlib.sha256).hexdigest()
