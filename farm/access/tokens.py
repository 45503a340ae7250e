"""Tokens: who calls, and in which role.

A token is `farm_ID_SECRET`. Only its SHA-256 is kept: the secret is 256 random bits, so there is nothing to guess that
a salt or a slow hash would protect. They are kept in one small file of their own that is replaced whole, not in the
journal: they are changed by people, a few times a day, and no job depends on them.
"""

import enum
import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from farm.access.files import private_folder, read_private, write_private
from farm.errors import AccessFilesError, TokenNotFoundError, UnauthenticatedError

log = logging.getLogger(__name__)

LOCAL = "local"
"""Id of the token that the farm's own user has on the farm's machine."""

LOCAL_FILE = "token"
"""Where that token's secret is, below the folder of tokens. It is another at each start."""

_FILE = "tokens.json"
_PREFIX = "farm"
_ID_BYTES = 4
_SECRET_BYTES = 32
_USE_GRAIN_SECONDS = 3600.0
_KEEP_SECONDS = 90 * 86400.0
"""How long a token that is no longer valid is still listed."""


class Role(enum.Enum):
    """What a token allows."""

    SUBMIT = "submit"
    WORKER = "worker"
    ADMIN = "admin"
    JOIN = "join"


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the farm knows it; times in seconds since the epoch.

    Attributes:
        token_id: Its name, which its secret begins with.
        role: What it allows.
        display_name: Whose it is. Jobs belong to this name.
        digest: SHA-256 of the secret, in hexadecimal digits.
        create_time: When it was made.
        expire_time: When it ends; None for never.
        revoke_time: When it was revoked or, if it allows joining, used.
        last_use_time: When it was last used, to the hour.
    """

    token_id: str
    role: Role
    display_name: str
    digest: str
    create_time: float
    expire_time: float | None = None
    revoke_time: float | None = None
    last_use_time: float | None = None

    def counts(self, now: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


class Tokens:
    """The tokens of a farm. May be used from any thread.

    Args:
        folder: Where they are kept; made if it is not there.
        now: Tells the time, in seconds since the epoch.

    Raises:
        AccessFilesError: The folder cannot be used, or its file of tokens is damaged.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        private_folder(folder)
        self._folder = folder
        self._now = now
        self._lock = threading.RLock()
        self._tokens = {token.token_id: token for token in _read(folder / _FILE)}

    def create(self, role: Role, display_name: str, expire_time: float | None = None) -> tuple[Token, str]:
        """Makes a token.

        Args:
            role: What it allows.
            display_name: Whose it is.
            expire_time: When it ends; None for never.

        Returns:
            The token, and its secret, which is not kept.
        """
        return self._create(secrets.token_hex(_ID_BYTES), role, display_name, expire_time)

    def renew_local(self, display_name: str) -> None:
        """Makes the token of the farm's own user anew, and leaves its secret where only that user can read it.

        Args:
            display_name: That user's name.
        """
        _, secret = self._create(LOCAL, Role.ADMIN, display_name, None)
        write_private(self._folder / LOCAL_FILE, secret.encode())

    def local_secret(self) -> str:
        """The secret of that token.

        Raises:
            AccessFilesError: It cannot be read.
        """
        return (read_private(self._folder / LOCAL_FILE) or b"").decode()

    def _create(self, token_id: str, role: Role, display_name: str, expire_time: float | None) -> tuple[Token, str]:
        secret = f"{_PREFIX}_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        with self._lock:
            now = self._now()
            token = Token(token_id, role, display_name, _digest(secret), now, expire_time)
            kept = {name: old for name, old in self._tokens.items() if _is_worth_keeping(old, now)}
            self._store({**kept, token_id: token})
        return token, secret

    def verify(self, secret: str) -> Token:
        """The token with this secret, if it counts.

        Raises:
            UnauthenticatedError: There is none, or it has expired or was revoked.
        """
        with self._lock:
            token = self._tokens.get(secret.removeprefix(f"{_PREFIX}_").partition("_")[0])
            if token is None or not hmac.compare_digest(token.digest, _digest(secret)):
                raise UnauthenticatedError(
                    "The farm does not know this token. Copy it whole, or ask the farm's owner for one "
                    "(`farm token create`; to join, `farm workers invite`). It goes into FARM_TOKEN or --token."
                )
            return self.current(token.token_id)

    def current(self, token_id: str) -> Token:
        """The token of that id, if it counts; for callers who have proved otherwise that it is theirs.

        Raises:
            UnauthenticatedError: There is none, or it has expired or was revoked.
        """
        with self._lock:
            token = self._tokens.get(token_id)
            if token is None:
                raise UnauthenticatedError(
                    f"The farm does not know the token {token_id} any more. Ask its owner for another."
                )
            now = self._now()
            if not token.counts(now):
                gone = "was used, or revoked" if token.role is Role.JOIN else "was revoked"
                happened = "has expired" if token.revoke_time is None else gone
                raise UnauthenticatedError(
                    f'The token {token.token_id} of "{token.display_name}" {happened}. Ask the farm\'s owner for '
                    "another (`farm token create`, `farm workers invite`).",
                    token=token.token_id,
                )
            self._note_use(token, now)
            return token

    def _note_use(self, token: Token, now: float) -> None:
        if token.last_use_time is not None and now - token.last_use_time < _USE_GRAIN_SECONDS:
            return
        try:
            self._store({**self._tokens, token.token_id: replace(token, last_use_time=now)})
        except AccessFilesError as error:  # a full disk must not lock out who could clear it
            log.warning("access.use_not_noted token=%s error=%s", token.token_id, error)

    def revoke(self, token_id: str) -> Token:
        """Makes a token invalid from now on. One that was revoked before stays as it is.

        Raises:
            TokenNotFoundError: There is no such token.
        """
        with self._lock:
            token = self._tokens.get(token_id)
            if token is None:
                raise TokenNotFoundError(
                    f'There is no token "{token_id}". `farm token list` lists the existing ones.', token=token_id
                )
            if token.revoke_time is None:
                token = replace(token, revoke_time=self._now())
                self._store({**self._tokens, token_id: token})
            return token

    def exchange(self, secret: str, role: Role, display_name: str) -> tuple[Token, str]:
        """Uses up a token for a new one: of any number of callers at once, one gets it.

        Args:
            secret: Of the token that is given.
            role: What the new one allows.
            display_name: Whose the new one is.

        Raises:
            UnauthenticatedError: The given token does not count (any more).
        """
        with self._lock:
            self.revoke(self.verify(secret).token_id)
            return self.create(role, display_name)

    def all(self) -> list[Token]:
        """Every token, also those that are no longer valid."""
        with self._lock:
            return list(self._tokens.values())

    def valid(self, role: Role, display_name: str) -> list[Token]:
        """Tokens of a role and an owner that count."""
        now = self._now()
        return [
            token
            for token in self.all()
            if (token.role, token.display_name) == (role, display_name) and token.counts(now)
        ]

    def _store(self, tokens: dict[str, Token]) -> None:
        write_private(self._folder / _FILE, msgspec.json.encode(list(tokens.values())))
        self._tokens = tokens


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _is_worth_keeping(token: Token, now: float) -> bool:
    return token.counts(now) or now - (token.revoke_time or token.expire_time or now) < _KEEP_SECONDS


def _read(path: Path) -> list[Token]:
    stored = read_private(path)
    if stored is None:
        return []
    try:
        return msgspec.json.decode(stored, type=list[Token])
    except msgspec.DecodeError as error:
        raise AccessFilesError(
            f"{path} holds no tokens ({error}). Restore it from a backup; or delete it, and every token has to be "
            "created again.",
            path=str(path),
        ) from error
