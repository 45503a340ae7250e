"""Everything that a coordinator knows of access, in one folder of its state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from farm.access.authority import Authority
from farm.access.tokens import Tokens

FOLDER = "access"
"""Below the state folder."""


@dataclass(frozen=True, slots=True)
class Access:
    """A farm's authority and tokens.

    Attributes:
        folder: Where they are kept.
        authority: Certifies.
        tokens: Who may call.
    """

    folder: Path
    authority: Authority
    tokens: Tokens

    @classmethod
    def open(cls, state: Path) -> Self:
        """Opens what a state folder knows of access; made the first time.

        Raises:
            AccessFilesError: Its files cannot be used.
        """
        folder = state.absolute() / FOLDER
        return cls(folder, Authority.open(folder), Tokens(folder))
