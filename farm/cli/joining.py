"""How this machine becomes a worker of a farm, stays one, and ceases to be one.

The private key is made here and stays here. The farm is recognized by the fingerprint of its authority before anything
is said to it.
"""

import logging
import socket
from contextlib import closing
from dataclasses import asdict

from farm.access.certificates import is_due, signing_request
from farm.access.client_access import find_client_access
from farm.access.hosts import LOOPBACK
from farm.access.versions import own_versions
from farm.carrier.node import own_ip
from farm.cli.invitation import Invitation
from farm.connection import Connection
from farm.errors import FarmError, MembershipError, UnreachableError
from farm.v1 import access_pb2, access_service_pb2
from farm.worker.membership import Membership, MembershipFolder, Secrets
from farm.worker.service import locked

log = logging.getLogger(__name__)


def join_farm(invitation: Invitation, worker_id: str, folder: MembershipFolder) -> Membership:
    """Enrols this machine, and keeps what it is given.

    Args:
        invitation: To which farm, and by what right.
        worker_id: What this machine is to be called there.
        folder: Where its membership is kept. One of the same farm is replaced.

    Raises:
        MembershipError: It belongs to another farm, or what it is given cannot be kept.
        FarmError: The farm does not answer, is another one than was meant, or refuses; says why.
    """
    earlier_token = ""
    if folder.exists():
        earlier = folder.load()
        if earlier.ca != invitation.ca:
            raise MembershipError(
                f'This machine belongs to the farm at {earlier.farm_address} already, as "{earlier.worker_id}". Leave '
                "that one first with `farm worker leave`; the invite stays valid meanwhile."
            )
        earlier_token = folder.load_secrets().worker_token
    request = access_service_pb2.EnrollRequest(join_token=invitation.token, worker_token=earlier_token)
    return _enrol(request, worker_id, invitation.address, invitation.ca, folder)


def renew(folder: MembershipFolder) -> Membership:
    """Has this machine's certificate made anew, with the addresses that it has now, and learns where Ray is now.

    Raises:
        FarmError: The farm does not answer, or this machine is no member any more.
    """
    membership = folder.load()
    request = access_service_pb2.EnrollRequest(worker_token=folder.load_secrets().worker_token)
    return _enrol(request, membership.worker_id, membership.farm_address, membership.ca, folder)


def refreshed(folder: MembershipFolder) -> Membership:
    """The membership as it is now, if the farm answers and there is room for it; else as it was when that last was so.

    Raises:
        MembershipError: There is none, or it cannot be read.
        WorkerFolderError: A worker runs on it, and renews it itself.
        FarmError: The farm says that this machine is no member any more.
    """
    membership = folder.load()
    folder.load_secrets()  # what is raised below is of the new ones
    try:
        with locked(folder.path.parent):
            return renew(folder)
    except (UnreachableError, MembershipError) as error:
        log.warning("membership.not_renewed reason=%r next='it goes on with the one that it has'", error.message)
        return membership


def find_ray(folder: MembershipFolder) -> str:
    """Where Ray's head listens now, HOST:PORT, as the farm says; empty if that cannot be learned. Renews, too."""
    try:
        return renew(folder).ray_address
    except FarmError as error:
        log.warning("membership.not_renewed reason=%r", error.message)
        return ""


def keep_valid(folder: MembershipFolder, ip: str) -> None:
    """Renews the certificate if it ends soon, or does not name the address that this machine has now.

    Args:
        folder: Where the membership is kept.
        ip: This machine's address.
    """
    try:
        if ip not in folder.load().hosts or is_due(folder.load_secrets().certificate_pem):
            renew(folder)
            log.info("membership.renewed address=%s", ip)
    except FarmError as error:
        log.warning("membership.not_renewed address=%s reason=%r", ip, error.message)


def _enrol(
    request: access_service_pb2.EnrollRequest, worker_id: str, address: str, ca: str, folder: MembershipFolder
) -> Membership:
    hosts = own_hosts(address)
    key_pem, csr = signing_request(worker_id)
    request.worker, request.csr = f"workers/{worker_id}", csr
    request.hosts.extend(hosts)
    request.versions.CopyFrom(access_pb2.Versions(**asdict(own_versions())))
    with closing(Connection(find_client_access(address, ca=ca), patience_seconds=0.0)) as farm:
        answer: access_service_pb2.EnrollResponse = farm.call(farm.access.Enroll, request)
    membership = Membership(worker_id, address, ca, answer.ray_address, answer.ray_tls, answer.worker_token_name, hosts)
    worker_token = answer.worker_token or request.worker_token
    secrets = Secrets(key_pem, answer.certificate, answer.ca_certificate, answer.ray_token, worker_token)
    folder.save(membership, secrets)
    return membership


def own_hosts(address: str) -> tuple[str, ...]:
    """Under what the farm's other machines, and this one itself, reach this machine.

    Raises:
        UnreachableError: There is no way to the farm.
    """
    try:
        ip = own_ip(address)
    except OSError as error:
        raise UnreachableError(
            f"This machine cannot reach {address} ({error}). Are both on the same network, and is the name right?",
            address=address,
        ) from None
    return tuple(dict.fromkeys((ip, *LOOPBACK, socket.gethostname())))
