"""Who gets in, and what they may do: every call of the server's own list, from every sort of caller."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from farm.access.certificates import signing_request
from farm.access.enrolment import RayAccess
from farm.access.tokens import Role
from farm.access.versions import own_versions
from farm.api import codec, permissions
from farm.api.permissions import check_complete
from farm.api.server import SERVICES
from farm.api.status import from_call
from farm.client import Client
from farm.errors import (
    FarmError,
    JobNotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    VersionMismatchError,
    WorkerNameTakenError,
    WrongStateError,
)
from farm.v1 import access_service_pb2, access_service_pb2_grpc
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE

METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
JOB_METHODS = [
    name
    for name, method in METHODS.items()
    if {"name", "parent"} & set(method.input_type.fields_by_name) and name.startswith("/farm.v1.JobService/")
]


def documented() -> dict[str, dict[str, str]]:
    """What the page on security says that each role may do, by call; a row names calls or whole services."""
    lines = (Path(__file__).parents[2] / "docs" / "security.md").read_text().splitlines()
    start = lines.index("| call | submit | worker | admin |") + 2
    said: dict[str, dict[str, str]] = {}
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[start:]):
        calls, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        names = set(re.findall(r"`(\w+)`", calls))
        for path in METHODS:
            if names & set(re.split("[./]", path)[-2:]):
                assert path not in said, f"{path} is in the table twice"
                said[path] = dict(zip(("submit", "worker", "admin"), cells, strict=True))
    return said


DOCUMENTED = documented()
OPEN = [path for path, cells in DOCUMENTED.items() if "without a token" in cells.values()]
CLOSED = [path for path in DOCUMENTED if path not in OPEN]

REFUSALS = (UnauthenticatedError, PermissionDeniedError)


@dataclass(frozen=True, slots=True)
class Callers:
    """A farm, the secrets of those who call it, and a job that anna submitted."""

    farm: RunningFarm
    channel: grpc.Channel
    secrets: dict[str, str]
    job: str

    def call(self, path: str, secret: str | None, **fields: Any) -> FarmError | None:
        """Makes a call with a token and gives the error that it ends with."""
        method = METHODS[path]
        request = GetMessageClass(method.input_type)(**fields)
        metadata = [] if secret is None else [("authorization", f"Bearer {secret}")]
        try:
            answers = _invoke(self.channel, path, method)(request, metadata=metadata, timeout=PATIENCE)
            next(iter(answers), None)
            answers.cancel()
        except grpc.RpcError as error:
            return from_call(error, self.farm.address)
        return None


def _invoke(channel: grpc.Channel, path: str, method: MethodDescriptor) -> Callable[..., Any]:
    """Calls a method, of whatever kind it is, with one message, and gives its answers as a stream."""
    codecs = GetMessageClass(method.input_type).SerializeToString, GetMessageClass(method.output_type).FromString
    if method.client_streaming:
        stream = channel.stream_stream(path, *codecs)
        return lambda request, **options: stream(iter([request]), **options)
    return channel.unary_stream(path, *codecs)


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    ray = RayAccess("192.0.2.1:7434", "ray-secret", is_tls=True)
    with running_farm(tmp_path_factory.mktemp("farm") / "state", ray=ray) as farm:
        tokens = farm.access.tokens
        secrets = {
            "submit": tokens.create(Role.SUBMIT, "anna")[1],
            "worker": tokens.create(Role.WORKER, "studio-3")[1],
            "admin": tokens.create(Role.ADMIN, "chief")[1],
            "join": tokens.create(Role.JOIN, "invite")[1],
            "other submitter": tokens.create(Role.SUBMIT, "bert")[1],
            "unknown": "farm_00000000_nonsense",
        }
        for reason, role in (("expired", Role.ADMIN), ("revoked", Role.ADMIN)):
            token, secrets[reason] = tokens.create(role, reason, time.time() - 1 if reason == "expired" else None)
            if reason == "revoked":
                tokens.revoke(token.token_id)
        with Client(farm.address, token=secrets["submit"]) as client:
            job = client.submit("a red circle")
            job.wait()
        with grpc.insecure_channel(farm.address) as channel:
            yield Callers(farm, channel, secrets, job.name)


def test_the_page_on_security_tells_of_every_call() -> None:
    assert set(DOCUMENTED) == set(METHODS)


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("who", [None, "unknown", "expired", "revoked", "empty"])
def test_no_call_is_answered_without_a_token_that_counts(callers: Callers, path: str, who: str | None) -> None:
    secret = None if who is None else callers.secrets.get(who, "")
    assert isinstance(callers.call(path, secret), UnauthenticatedError)


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("role", list(Role))
def test_every_call_is_open_to_the_roles_that_the_page_names_and_to_no_other(
    callers: Callers, path: str, role: Role
) -> None:
    allowed = path in OPEN or bool(DOCUMENTED[path].get(role.value))
    error = callers.call(path, callers.secrets[role.value])
    if path.endswith("/Enroll"):  # proves itself by its request, which is empty here
        assert not isinstance(error, PermissionDeniedError)
    else:
        assert isinstance(error, REFUSALS) is not allowed, error


@pytest.mark.parametrize("path", JOB_METHODS)
def test_the_job_of_another_submitter_does_not_exist(callers: Callers, path: str) -> None:
    field = "name" if "name" in METHODS[path].input_type.fields_by_name else "parent"
    request = {field: callers.job}
    others = callers.call(path, callers.secrets["other submitter"], **request)
    nobodys = callers.call(path, callers.secrets["other submitter"], **{field: "jobs/none"})
    assert isinstance(others, JobNotFoundError)
    assert isinstance(nobodys, JobNotFoundError)
    assert others.message == nobodys.message.replace("none", callers.job.removeprefix("jobs/"))
    if not path.endswith("/DeleteJob"):
        assert not isinstance(callers.call(path, callers.secrets["submit"], **request), (JobNotFoundError, *REFUSALS))
        assert not isinstance(callers.call(path, callers.secrets["admin"], **request), (JobNotFoundError, *REFUSALS))


def test_every_call_about_a_job_is_among_those_that_were_tried() -> None:
    about_no_job = {"SubmitJob", "ListJobs"}
    jobs = {path.rpartition("/")[2] for path in METHODS if path.startswith("/farm.v1.JobService/")}
    assert {path.rpartition("/")[2] for path in JOB_METHODS} == jobs - about_no_job


def test_a_list_holds_ones_own_jobs_and_for_admins_everybodys(callers: Callers) -> None:
    def listed(who: str, submitter: str = "") -> list[str]:
        with Client(callers.farm.address, token=callers.secrets[who]) as client:
            return [job.name for job in client.jobs(submitter=submitter)]

    assert callers.job in listed("submit")
    assert callers.job in listed("admin", "anna")
    assert listed("other submitter") == []
    with pytest.raises(PermissionDeniedError, match='The jobs of "anna" are not yours'):
        listed("other submitter", "anna")


def test_a_submitter_is_who_the_token_says_and_only_admins_submit_for_others(callers: Callers) -> None:
    with Client(callers.farm.address, token=callers.secrets["submit"]) as client:
        assert client.submit("a", validate_only=True).message.submitter == "anna"
    with Client(callers.farm.address) as client:  # names this machine's user in the metadata
        assert client.submit("a", validate_only=True).message.submitter not in ("", "chief", "local")


def test_a_request_id_of_another_submitter_gives_nothing_of_their_job(callers: Callers) -> None:
    with Client(callers.farm.address, token=callers.secrets["submit"]) as client:
        client.submit("mine", request_id="11111111-1111-4111-8111-111111111111")
    with (
        Client(callers.farm.address, token=callers.secrets["other submitter"]) as client,
        pytest.raises(FarmError, match="was used for another submission"),
    ):
        client.submit("mine", request_id="11111111-1111-4111-8111-111111111111")


def test_a_method_that_the_table_forgets_keeps_the_server_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {service: dict(methods) for service, methods in permissions.PERMISSIONS.items()}
    del table["farm.v1.JobService"]["GetJob"]
    monkeypatch.setattr(permissions, "PERMISSIONS", table)
    with pytest.raises(AssertionError, match=r"farm\.v1\.JobService.*GetJob"):
        check_complete(SERVICES)


def test_revoking_takes_effect_at_once(callers: Callers) -> None:
    with Client(callers.farm.address) as admin:
        made = admin.create_token(Role.SUBMIT, "carl")
        with Client(callers.farm.address, token=made.secret) as client:
            job = client.submit("a")
            assert list(job.watch())
            admin.revoke_token(made.token.name)
            for call in (job.refresh, lambda: list(job.watch()), lambda: client.submit("a"), lambda: list(job.pngs())):
                with pytest.raises(UnauthenticatedError, match="was revoked"):
                    call()


def test_tokens_are_listed_without_their_secrets_and_survive_a_restart(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state") as farm, Client(farm.address) as admin:
        made = admin.create_token(Role.SUBMIT, "anna", time.time() + 60)
        listed = {token.name: token for token in admin.tokens()}
        assert listed[made.token.name].display_name == "anna"
        assert made.secret.split("_", 2)[2] not in str(listed)
        with Client(farm.address, token=made.secret) as client:
            job = client.submit("a")
    with running_farm(tmp_path / "state") as farm, Client(farm.address, token=made.secret) as client:
        assert client.job(job.name).message.submitter == "anna"


def test_a_worker_steers_and_revokes_itself_only(callers: Callers) -> None:
    drain, revoke = "/farm.v1.WorkerService/DrainWorker", "/farm.v1.AccessService/RevokeToken"
    secret = callers.farm.access.tokens.create(Role.WORKER, "studio-9")
    assert isinstance(callers.call(drain, secret[1], name="workers/local"), PermissionDeniedError)
    assert not isinstance(callers.call(drain, secret[1], name="workers/studio-9"), REFUSALS)
    assert isinstance(callers.call(revoke, secret[1], name="tokens/local"), PermissionDeniedError)
    assert callers.call(revoke, secret[1], name=f"tokens/{secret[0].token_id}") is None


# Enrolling


def enrolment(**fields: Any) -> access_service_pb2.EnrollRequest:
    fields.setdefault("versions", codec.encode_versions(own_versions()))
    return access_service_pb2.EnrollRequest(csr=signing_request("x")[1], hosts=["m.local"], **fields)


def enroll(callers: Callers, **fields: Any) -> access_service_pb2.EnrollResponse:
    stub = access_service_pb2_grpc.AccessServiceStub(callers.channel)
    try:
        return stub.Enroll(enrolment(**fields), timeout=PATIENCE)
    except grpc.RpcError as error:
        raise from_call(error, callers.farm.address) from None


def invite(callers: Callers) -> str:
    with Client(callers.farm.address) as admin:
        return admin.create_invite("a Mac").secret


def test_an_invite_makes_one_machine_a_worker_with_all_that_it_needs(callers: Callers) -> None:
    join_token = invite(callers)
    given = enroll(callers, worker="workers/once", join_token=join_token)
    assert given.ca_certificate == callers.farm.access.authority.certificate_pem
    assert (given.ray_address, given.ray_token, given.ray_tls) == ("192.0.2.1:7434", "ray-secret", True)
    assert callers.farm.access.tokens.verify(given.worker_token).display_name == "once"
    with pytest.raises(UnauthenticatedError, match="was used"):
        enroll(callers, worker="workers/twice", join_token=join_token)


def test_a_worker_renews_its_certificate_with_its_own_token_and_no_other(callers: Callers) -> None:
    given = enroll(callers, worker="workers/renews", join_token=invite(callers))
    renewed = enroll(callers, worker="workers/renews", worker_token=given.worker_token)
    assert renewed.certificate != given.certificate
    assert renewed.worker_token == ""
    with pytest.raises(PermissionDeniedError):
        enroll(callers, worker="workers/another", worker_token=given.worker_token)
    with pytest.raises(PermissionDeniedError, match="is not an invite"):
        enroll(callers, worker="workers/another", join_token=callers.secrets["submit"])
    with pytest.raises(UnauthenticatedError):
        enroll(callers, worker="workers/another")


def test_a_name_is_one_machines_until_that_machine_joins_again(callers: Callers) -> None:
    first = enroll(callers, worker="workers/named", join_token=invite(callers))
    join_token = invite(callers)
    with pytest.raises(WorkerNameTakenError, match="farm token revoke"):
        enroll(callers, worker="workers/named", join_token=join_token)
    again = enroll(callers, worker="workers/named", join_token=join_token, worker_token=first.worker_token)
    tokens = callers.farm.access.tokens
    assert tokens.verify(again.worker_token).display_name == "named"
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        tokens.verify(first.worker_token)


def test_another_version_is_refused_with_the_fix_and_keeps_the_invite(callers: Callers) -> None:
    join_token, versions = invite(callers), codec.encode_versions(own_versions())
    versions.ray = "1.0.0"
    with pytest.raises(VersionMismatchError, match=rf'pip install "ray=={own_versions().ray}"'):
        enroll(callers, worker="workers/old", join_token=join_token, versions=versions)
    assert enroll(callers, worker="workers/old", join_token=join_token).worker_token


def test_a_coordinator_that_takes_no_workers_invites_none(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state") as farm, Client(farm.address) as admin, pytest.raises(WrongStateError):
        admin.create_invite()
