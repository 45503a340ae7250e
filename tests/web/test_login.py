"""Who gets in over HTTP, and what of the API they reach."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from farm.access.authority import CERTIFICATE_FILE
from farm.access.tokens import Role, Tokens
from farm.errors import UnauthenticatedError
from farm.web.sessions import LINK_SECONDS, SESSION_SECONDS, Sessions
from farm.web.site import PAGE_HEADER
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE

OWN = {PAGE_HEADER: "1"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state", page="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def web(farm: RunningFarm) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=farm.page, timeout=PATIENCE) as client:
        yield client


def secret(farm: RunningFarm, role: Role, name: str = "anna") -> str:
    return farm.access.tokens.create(role, name)[1]


def bearer(farm: RunningFarm, role: Role, name: str = "anna") -> dict[str, str]:
    return {"Authorization": f"Bearer {secret(farm, role, name)}"}


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


def test_a_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(
    farm: RunningFarm, web: httpx.Client
) -> None:
    answer = web.post("/session", json={"token": secret(farm, Role.SUBMIT)}, headers=OWN)
    assert answer.json()["name"] == "anna"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert web.get("/session").json()["role"] == "submit"
    assert web.delete("/session", headers=OWN).status_code == 200
    assert reason(web.get("/session")) == (401, "UNAUTHENTICATED")


def test_a_cookie_without_the_pages_own_header_changes_nothing(farm: RunningFarm, web: httpx.Client) -> None:
    web.post("/session", json={"token": secret(farm, Role.ADMIN)}, headers=OWN)
    assert web.post("/api/JobService/ListJobs", json={}, headers=OWN).status_code == 200
    assert reason(web.post("/api/JobService/ListJobs", json={})) == (403, "PERMISSION_DENIED")
    assert reason(web.post("/session", json={"token": "whatever"})) == (403, "PERMISSION_DENIED")


def test_programs_come_with_a_bearer_token_or_with_it_as_a_password(farm: RunningFarm, web: httpx.Client) -> None:
    token = secret(farm, Role.ADMIN, "tool")
    assert web.get("/session", headers={"Authorization": f"Bearer {token}"}).json()["name"] == "tool"
    assert web.get("/session", auth=("anybody", token)).json()["name"] == "tool"
    assert reason(web.get("/session", auth=("anybody", "wrong"))) == (401, "UNAUTHENTICATED")
    assert reason(web.get("/session", headers={"Authorization": "Basic ???"})) == (401, "UNAUTHENTICATED")


def test_an_invite_lets_nobody_look(farm: RunningFarm, web: httpx.Client) -> None:
    answer = web.post("/session", json={"token": secret(farm, Role.JOIN)}, headers=OWN)
    assert reason(answer) == (403, "PERMISSION_DENIED")


def test_a_session_ends_with_its_token_and_outlives_a_restart(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    token, _ = tokens.create(Role.SUBMIT, "anna")
    cookie = Sessions.open(tmp_path, tokens).cookie(token)
    assert Sessions.open(tmp_path, Tokens(tmp_path)).token(cookie) == token
    tokens.revoke(token.token_id)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        Sessions.open(tmp_path, tokens).token(cookie)


def test_a_session_that_is_forged_or_too_old_counts_for_nothing(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    token, _ = tokens.create(Role.SUBMIT, "anna")
    admin, _ = tokens.create(Role.ADMIN, "root")
    cookie = Sessions(b"key", tokens).cookie(token)
    for forged in (cookie.replace(token.token_id, admin.token_id), cookie[:-1], "", "é", "..", f"{cookie}.x"):
        with pytest.raises(UnauthenticatedError):
            Sessions(b"key", tokens).token(forged)
    with pytest.raises(UnauthenticatedError):
        Sessions(b"key", tokens, now=lambda: time.time() + SESSION_SECONDS + 1).token(cookie)


def test_a_link_counts_for_its_own_path_and_for_an_hour(tmp_path: Path) -> None:
    sessions = Sessions(b"key", Tokens(tmp_path))
    path, _, query = sessions.link("/images/j/0.png").partition("?")
    expiry, signature = (values[0] for values in parse_qs(query).values())
    sessions.check_link(path, expiry, signature)
    later = Sessions(b"key", Tokens(tmp_path), now=lambda: time.time() + LINK_SECONDS + 1)
    for judge, shown in (
        (sessions, ("/images/j/1.png", expiry, signature)),
        (sessions, (path, str(int(expiry) + 1), signature)),
        (sessions, (path, expiry, "")),
        (Sessions(b"another", Tokens(tmp_path)), (path, expiry, signature)),
        (later, (path, expiry, signature)),
    ):
        with pytest.raises(UnauthenticatedError, match="This link has expired"):
            judge.check_link(*shown)


def test_the_api_is_the_same_as_over_grpc_also_in_whose_jobs_are_whose(farm: RunningFarm, web: httpx.Client) -> None:
    anna, ben = bearer(farm, Role.SUBMIT), bearer(farm, Role.SUBMIT, "ben")
    submission = {"spec": {"display_name": "two"}, "entries": [{"prompt": "a red circle"}, {"prompt": "a blue star"}]}
    job = web.post("/api/JobService/SubmitJob", json=submission, headers=anna).json()
    assert (job["submitter"], job["image_count"], job["display_name"]) == ("anna", 2, "two")
    name = {"name": job["name"]}
    assert web.post("/api/JobService/GetJob", json=name, headers=anna).json()["name"] == job["name"]
    assert reason(web.post("/api/JobService/GetJob", json=name, headers=ben)) == (404, "JOB_NOT_FOUND")
    assert reason(web.post("/api/WorkerService/DrainWorker", json={"name": "workers/local"}, headers=anna))[0] == 403
    worker = bearer(farm, Role.WORKER, "studio-1")
    assert reason(web.post("/api/JobService/ListJobs", json={}, headers=worker)) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("JobService/GetJob", b"nonsense"),
        ("JobService/GetJob", b'{"name": 3}'),
        ("JobService/GetJob", b'{"unknown": 1}'),
        ("JobService/SubmitJob", b'{"spec": [], "entries": []}'),
        ("JobService/SubmitJob", b'{"entries": 5}'),
        ("JobService/SubmitJob", b'{"entries": [{"steps": 0, "prompt": "a"}]}'),
        ("JobService/GetJob", b" " * (5 << 20)),
    ],
)
def test_what_is_no_request_is_refused_with_its_fault(
    farm: RunningFarm, web: httpx.Client, path: str, body: bytes
) -> None:
    answer = web.post(f"/api/{path}", content=body, headers=bearer(farm, Role.ADMIN))
    assert reason(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["error"]["violations"]


def test_every_answer_forbids_a_browser_to_load_or_send_anything_elsewhere(web: httpx.Client) -> None:
    for path in ("/", "/session", "/nothing"):
        policy = web.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy


def test_files_of_the_page_are_asked_for_again_only_when_they_changed(web: httpx.Client) -> None:
    first = web.get("/")
    again = web.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_beyond_loopback_the_page_is_there_with_tls_only(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state", page="0.0.0.0:0") as farm:
        port = farm.page.rstrip("/").rpartition(":")[2]
        authority = ssl.create_default_context(cafile=farm.state / "access" / CERTIFICATE_FILE)
        assert farm.page.startswith("https://")
        answer = httpx.get(f"https://localhost:{port}/", verify=authority)
        assert answer.status_code == 200
        login = httpx.post(
            f"https://127.0.0.1:{port}/session", json={"token": secret(farm, Role.ADMIN)}, headers=OWN, verify=authority
        )
        assert "Secure" in login.headers["set-cookie"]
        assert len(login.cookies) == 1
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/")
