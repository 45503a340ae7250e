"""What keeps strangers out of Ray: its token, which is a right to run any code on every node, and TLS on both sides."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TOKEN_FILE = "ray-token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of this machine's part in a farm.

    Attributes:
        certificate: For servers and clients; names every address by which others reach this machine, and 127.0.0.1.
        key: Its private key.
        authority: The farm's own authority, which signed the certificates of all.
    """

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class RaySecurity:
    """How Ray's processes know each other.

    Attributes:
        token: File of the token that all of them share.
        tls: Without it, they may speak on loopback only.
    """

    token: Path
    tls: TlsFiles | None = None

    def environment(self) -> Mapping[str, str]:
        """The variables by which Ray is told."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_USE_TLS": "0"}
        if self.tls is None:
            return token
        return token | {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": str(self.tls.certificate),
            "RAY_TLS_SERVER_KEY": str(self.tls.key),
            "RAY_TLS_CA_CERT": str(self.tls.authority),
        }


def scrape_token(ray_token: str) -> str:
    """What a farm's Prometheus shows. Whoever has Ray's token knows it; it is no way back to that one.

    Args:
        ray_token: The farm's Ray token.
    """
    return hmac.new(ray_token.strip().encode(), b"mac-render-farm scrape", hashlib.sha256).hexdigest()


def ray_token(folder: Path) -> Path:
    """The file of a farm's Ray token, made by whoever needs it first; only this user can read it.

    Args:
        folder: Where it is kept.

    Raises:
        OSError: It cannot be made.
    """
    path = folder / TOKEN_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{TOKEN_FILE}-{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):  # another process was faster: its token counts
            os.link(draft, path)
        draft.unlink()
    return path
