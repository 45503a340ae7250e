"""How a machine becomes a worker: an invite and a signing request in, a certificate and the worker's own token out."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.access.access import Access
from farm.access.tokens import Role, Token, Tokens
from farm.access.versions import Versions, check_versions, own_versions
from farm.errors import PermissionDeniedError, UnauthenticatedError, WorkerNameTakenError


@dataclass(frozen=True, slots=True)
class RayAccess:
    """How workers reach Ray.

    Attributes:
        address: Where Ray's head listens, "host:port".
        token: Ray's token. Whoever has it can run any code on every machine of the farm.
        is_tls: Whether Ray talks TLS, with certificates of the farm's authority.
    """

    address: str
    token: str
    is_tls: bool


@dataclass(frozen=True, slots=True)
class Applicant:
    """A machine that wants to be a worker, or wants its certificate renewed.

    Attributes:
        join_token: Secret of an invite; empty to renew.
        worker_token: Secret of the token that an earlier enrolment gave it; empty if it has none.
        worker_id: What it is to be called.
        request_pem: Its signing request.
        hosts: Its host names and addresses.
        versions: What it runs.
    """

    join_token: str
    worker_token: str
    worker_id: str
    request_pem: bytes
    hosts: Sequence[str]
    versions: Versions


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a worker was given.

    Attributes:
        certificate_pem: Its certificate, then the CA's.
        token: Its token.
        secret: That token's secret; None if it has it already.
    """

    certificate_pem: bytes
    token: Token
    secret: str | None


def enrol(access: Access, applicant: Applicant) -> Enrolled:
    """Makes a machine a worker, or renews its certificate. An invite is used up only if nothing else was wrong.

    Raises:
        UnauthenticatedError: What it proves itself with does not count.
        PermissionDeniedError: That is no invite, or is another worker's token.
        VersionMismatchError: It runs something else than the coordinator.
        WorkerNameTakenError: Another machine has its name.
        InvalidRequestError: Its signing request, or a host, is wrong.
    """
    proof = access.tokens.verify(applicant.join_token or applicant.worker_token)
    check_versions(applicant.versions, own_versions())
    if applicant.join_token:
        return _join(access, applicant, proof)
    if (proof.role, proof.display_name) != (Role.WORKER, applicant.worker_id):
        raise PermissionDeniedError(
            f'This token is not that of the worker "{applicant.worker_id}", so nothing can be renewed with it. Join '
            "with an invite: `farm workers invite` on the coordinator prints the line.",
            token=proof.token_id,
        )
    return Enrolled(_certify(access, applicant), proof, None)


def _join(access: Access, applicant: Applicant, invite: Token) -> Enrolled:
    if invite.role is not Role.JOIN:
        raise PermissionDeniedError(
            "This token is not an invite, so no machine can join with it. `farm workers invite` on the coordinator "
            "prints the line to join with.",
            token=invite.token_id,
        )
    earlier = _earlier(access.tokens, applicant.worker_token)
    for token in access.tokens.valid(Role.WORKER, applicant.worker_id):
        if earlier is None or token.token_id != earlier.token_id:
            raise WorkerNameTakenError(
                f'A machine has joined as "{applicant.worker_id}" already. Choose another name with --name; or, if '
                f"that machine is gone, `farm token revoke {token.token_id}` on the coordinator and join again.",
                worker=applicant.worker_id,
                token=token.token_id,
            )
    certificate = _certify(access, applicant)
    token, secret = access.tokens.exchange(applicant.join_token, Role.WORKER, applicant.worker_id)
    if earlier is not None:
        access.tokens.revoke(earlier.token_id)
    return Enrolled(certificate, token, secret)


def _earlier(tokens: Tokens, secret: str) -> Token | None:
    """The token of this machine's earlier enrolment, if that still counts."""
    try:
        token = tokens.verify(secret)
    except UnauthenticatedError:
        return None
    return token if token.role is Role.WORKER else None


def _certify(access: Access, applicant: Applicant) -> bytes:
    return access.authority.sign(applicant.request_pem, applicant.worker_id, applicant.hosts)
