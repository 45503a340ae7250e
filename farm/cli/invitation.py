"""The line by which a machine joins: where the farm is, by what it is recognized, and a token that counts once."""

from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from farm.access.pinning import is_pin
from farm.api.address import check_written
from farm.errors import AddressError, InvitationError

_SCHEME = "farm"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a machine needs to join; `farm://HOST:PORT?token=…&ca=sha256:…` as a line.

    Attributes:
        address: Where the farm listens, HOST:PORT.
        token: Secret of the invite.
        ca: Fingerprint of the farm's authority, "sha256:HEX".
    """

    address: str
    token: str
    ca: str

    def __str__(self) -> str:
        """The line."""
        return f"{_SCHEME}://{self.address}?token={quote(self.token, safe='')}&ca={quote(self.ca, safe=':')}"


def read_invitation(text: str) -> Invitation:
    """Reads an invitation line.

    Raises:
        InvitationError: It is none, or part of it is missing.
    """
    try:
        parts = urlsplit(text.strip().strip("'\""))
        fields = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        check_written(parts.netloc)
    except (ValueError, AddressError):
        raise _wrong("it does not name a farm as farm://HOST:PORT") from None
    if parts.scheme != _SCHEME:
        raise _wrong("it does not begin with farm://")
    token, ca = (fields.get(name, [""])[0] for name in ("token", "ca"))
    if not token or not ca:
        missing = "ca" if token else "token"
        raise _wrong(
            f"it has no {missing}=. A shell ends a line at the sign &: put the whole line between quotes, as it was "
            "printed"
        )
    if not is_pin(ca):
        raise _wrong(f"its ca={ca} is not a fingerprint, sha256: and 64 digits; part of the line may be missing")
    return Invitation(parts.netloc, token, ca)


def _wrong(problem: str) -> InvitationError:
    return InvitationError(
        f"This is not an invitation line: {problem}. Run `farm workers invite` where the coordinator runs, and "
        "paste what it prints, whole."
    )
