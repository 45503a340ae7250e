"""What a worker was given when it joined a farm: who it is there, and what it proves that with.

Everything lies in one folder that only this user can enter, and appears or disappears as a whole.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.carrier.security import RaySecurity, TlsFiles
from farm.errors import MembershipError

FOLDER = "membership"
"""Its name in the worker's folder."""

_FILE = "membership.json"
_KEY, _CERTIFICATE, _AUTHORITY, _RAY_TOKEN, _TOKEN = "key.pem", "certificate.pem", "ca.pem", "ray-token", "worker-token"


@dataclass(frozen=True, slots=True)
class Membership:
    """Where a worker belongs; what is no secret.

    Attributes:
        worker_id: Its name in the farm.
        farm_address: Where the farm listens, HOST:PORT.
        ca: Fingerprint of the farm's authority, "sha256:HEX".
        ray_address: Where Ray's head listens, HOST:PORT.
        ray_tls: Whether Ray speaks TLS there.
        token_name: Name of the worker's own token, "tokens/{token}".
        hosts: Names and addresses in its certificate.
    """

    worker_id: str
    farm_address: str
    ca: str
    ray_address: str
    ray_tls: bool
    token_name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What proves a membership.

    Attributes:
        key_pem: The private key, made on this machine.
        certificate_pem: The worker's certificate, then the farm's.
        ca_pem: The certificate of the farm's authority.
        ray_token: Ray's token.
        worker_token: The worker's own token for the farm's API.
    """

    key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes
    ray_token: str
    worker_token: str


class MembershipFolder:
    """The membership that a worker's folder holds, if any.

    Args:
        worker_folder: What the worker keeps.
    """

    def __init__(self, worker_folder: Path) -> None:
        self.path = worker_folder / FOLDER
        self._draft = worker_folder / f".{FOLDER}-new"
        self._old = worker_folder / f".{FOLDER}-old"

    def exists(self) -> bool:
        """Whether this worker has joined a farm."""
        self._finish_save()
        return self.path.exists()

    def load(self) -> Membership:
        """Reads the membership.

        Raises:
            MembershipError: There is none, or it cannot be read.
        """
        self._finish_save()
        try:
            return msgspec.json.decode((self.path / _FILE).read_bytes(), type=Membership)
        except FileNotFoundError:
            raise MembershipError(
                "This machine has not joined a farm. Run `farm workers invite` on the coordinator and paste the line "
                "that it prints here; or give --ray-address to try out a farm on this machine."
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise MembershipError(
                f"What this machine knows of its farm, in {self.path}, cannot be read ({error}). Leave with "
                "`farm worker leave`, and join again with a new line from `farm workers invite`."
            ) from error

    def load_secrets(self) -> Secrets:
        """Reads what proves the membership.

        Raises:
            MembershipError: It cannot be read.
        """
        try:
            return Secrets(
                key_pem=(self.path / _KEY).read_bytes(),
                certificate_pem=(self.path / _CERTIFICATE).read_bytes(),
                ca_pem=(self.path / _AUTHORITY).read_bytes(),
                ray_token=(self.path / _RAY_TOKEN).read_text(),
                worker_token=(self.path / _TOKEN).read_text(),
            )
        except OSError as error:
            raise MembershipError(
                f"This machine's credentials in {self.path} cannot be read ({error}). Join again with a new line from "
                "`farm workers invite`."
            ) from error

    def save(self, membership: Membership, secrets: Secrets) -> None:
        """Writes a membership in the place of an earlier one: the old one whole, or the new one.

        Raises:
            MembershipError: It cannot be written.
        """
        files = {
            _KEY: secrets.key_pem,
            _CERTIFICATE: secrets.certificate_pem,
            _AUTHORITY: secrets.ca_pem,
            _RAY_TOKEN: secrets.ray_token.encode(),
            _TOKEN: secrets.worker_token.encode(),
            _FILE: msgspec.json.format(msgspec.json.encode(membership), indent=2),
        }
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._draft, self._old):
                shutil.rmtree(folder, ignore_errors=True)
            self._draft.mkdir(mode=0o700)
            for name, content in files.items():
                with os.fdopen(os.open(self._draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(self._old)
            self._draft.rename(self.path)
        except OSError as error:
            raise MembershipError(
                f"This machine's credentials cannot be stored in {self.path} ({error.strerror}). Correct the folder's "
                "permissions or make room, and join again with a new line from `farm workers invite`."
            ) from error
        shutil.rmtree(self._old, ignore_errors=True)

    def _finish_save(self) -> None:
        """Puts the new membership in its place if a crash came just before; there is always one of the two."""
        if self._old.exists() and not self.path.exists():
            with contextlib.suppress(OSError):
                self._draft.rename(self.path)

    def remove(self) -> None:
        """Forgets the farm."""
        for folder in (self.path, self._draft, self._old):
            shutil.rmtree(folder, ignore_errors=True)

    def ray_security(self, membership: Membership) -> RaySecurity:
        """How this worker's Ray processes prove themselves."""
        files = TlsFiles(self.path / _CERTIFICATE, self.path / _KEY, self.path / _AUTHORITY)
        return RaySecurity(self.path / _RAY_TOKEN, files if membership.ray_tls else None)
