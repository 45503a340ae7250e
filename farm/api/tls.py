"""The server's certificate: renewed before it ends, and when this machine's addresses change."""

import threading
from collections.abc import Callable

import grpc

from farm.access.authority import Authority
from farm.access.certificates import Credentials, is_due

_NAME = "coordinator"


class ServerIdentity:
    """What a server proves itself with, at each moment.

    Args:
        authority: Certifies it.
        hosts: Tells under which host names and addresses the server can be reached now.
    """

    def __init__(self, authority: Authority, hosts: Callable[[], list[str]]) -> None:
        self._authority = authority
        self._hosts = hosts
        self._lock = threading.Lock()
        self._certified: list[str] = []
        self._credentials: Credentials | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks for the certificate anew at each handshake."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        current = self.current()
        return grpc.ssl_server_certificate_configuration([(current.key_pem, current.certificate_pem)])

    def current(self) -> Credentials:
        """Key and certificate chain that hold now. May be called from any thread."""
        hosts = self._hosts()
        with self._lock:
            if self._credentials is None or hosts != self._certified or is_due(self._credentials.certificate_pem):
                self._credentials = self._authority.issue(_NAME, hosts)
                self._certified = hosts
            return self._credentials
