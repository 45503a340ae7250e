"""The farm's secret for webhooks, and what is signed with it."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from farm.access.files import kept_key

_FILE = "webhooks.key"


@dataclass(frozen=True, slots=True)
class Secret:
    """What the farm signs with, and receivers check with."""

    key: bytes

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Takes it from the folder of access; makes it the first time.

        Raises:
            AccessFilesError: It cannot be read or written.
        """
        return cls(kept_key(folder / _FILE))

    def __str__(self) -> str:
        """As receivers' libraries take it."""
        return f"whsec_{base64.b64encode(self.key).decode()}"

    def __repr__(self) -> str:
        return "Secret(...)"  # not for logs

    def headers(self, message_id: str, timestamp: int, content: bytes) -> Mapping[str, str]:
        """What goes with a message: its id, when it was sent, and the signature over both and the content.

        Args:
            message_id: The same for every try, so that a receiver can leave out what it has.
            timestamp: In seconds since the epoch; receivers refuse what is older than some minutes.
            content: The body.
        """
        signed = f"{message_id}.{timestamp}.".encode() + content
        signature = base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{signature}",
        }
