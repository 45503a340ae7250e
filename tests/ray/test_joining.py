"""A farm beyond loopback, with real processes: a machine is invited, joins, renders and leaves; others are refused.

Machines are folders here: each has a home of its own, and they meet at this machine's address on its network.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm import Client
from farm.access.client_access import find_client_access
from farm.access.versions import Versions
from farm.carrier.node import own_ip
from farm.cli.fleet import ELSEWHERE
from farm.cli.invitation import Invitation, read_invitation
from farm.cli.joining import find_ray, keep_valid, refreshed
from farm.cli.leaving import finish
from farm.cli.local_fleet import free_ray_address
from farm.connection import Connection
from farm.domain import JobState
from farm.v1 import access_pb2, access_service_pb2, worker_pb2, worker_service_pb2
from farm.worker.membership import MembershipFolder
from tests.cli.conftest import Run, runner
from tests.ray.fleet import PATIENCE, end
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(900)

NAME = "mac-1"
RENDERER = ("--null-renderer", "--null-seconds", 0.02)


def start(log: Path, home: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Starts `farm` on a machine; it ends when its standard input does."""
    home.mkdir(exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "farm", *map(str, arguments), "--stop-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )


class Farm:
    """A coordinator that listens on every address of this machine, and what its owner does."""

    def __init__(self, folder: Path) -> None:
        try:
            ip = own_ip(ELSEWHERE)
        except OSError:
            pytest.skip("this machine is on no network")
        self.folder = folder
        self.address, self.ray_address = (free_ray_address().replace("127.0.0.1", ip) for _ in range(2))
        self.log = folder / "coordinator.log"
        self._access = folder / "state" / "access"
        options = ["--listen", self.address.replace(ip, "0.0.0.0"), "--state", folder / "state", "--engine", "ray"]
        self.process = start(self.log, folder / "home", "coordinator", *options, "--ray-address", self.ray_address)
        assert eventually(lambda: "Listening on" in self.log.read_text(), PATIENCE), self.log.read_text()

    @contextlib.contextmanager
    def owner(self) -> Iterator[Connection]:
        """Calls with the token of the farm's own user."""
        token = (self._access / "token").read_text()
        connection = Connection(find_client_access(self.address, token, str(self._access / "ca.pem")), 0.0)
        try:
            yield connection
        finally:
            connection.close()

    def invite(self) -> Invitation:
        with self.owner() as owner:
            made = owner.call(owner.access.CreateInvite, access_service_pb2.CreateInviteRequest())
        return Invitation(self.address, made.secret, made.ca_fingerprint)

    def submit_token(self) -> tuple[str, str]:
        """A token to submit with, and the fingerprint to know the farm by."""
        request = access_service_pb2.CreateTokenRequest(role=access_pb2.ROLE_SUBMIT, display_name="ada")
        with self.owner() as owner:
            made = owner.call(owner.access.CreateToken, request)
        return made.secret, made.ca_fingerprint

    def states(self) -> dict[str, int]:
        """Workers by name."""
        token = (self._access / "token").read_text()
        with Client(self.address, token=token, ca=str(self._access / "ca.pem")) as client:
            return {worker.name.removeprefix("workers/"): worker.state for worker in client.workers()}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"))
    try:
        yield farm
    finally:
        end(farm.process)


@pytest.fixture(autouse=True)
def _elsewhere(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves are on another machine."""
    monkeypatch.setenv("HOME", str(farm.folder / "mac-home"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on another machine."""
    return runner(capsys)


@pytest.fixture(scope="module")
def worker(farm: Farm) -> Iterator[Path]:
    """The folder of a machine that has joined and renders."""
    folder = farm.folder / "worker"
    arguments = ["worker", "join", str(farm.invite()), "--name", NAME, "--folder", str(folder)]
    home = {**os.environ, "HOME": str(farm.folder / "mac-home")}
    command = [sys.executable, "-m", "farm", *arguments]
    joined = subprocess.run(command, capture_output=True, text=True, check=False, env=home)
    assert joined.returncode == 0, joined.stderr
    assert f'the worker "{NAME}" of the farm at {farm.address}' in joined.stdout
    log = farm.folder / "worker.log"
    process = start(log, farm.folder / "mac-home", "worker", "run", "--folder", folder, *RENDERER)
    try:
        assert eventually(lambda: farm.states().get(NAME) == worker_pb2.WORKER_STATE_ACTIVE, PATIENCE), log.read_text()
        yield folder
    finally:
        end(process)


def test_a_machine_that_joined_keeps_what_it_was_given_for_itself(worker: Path) -> None:
    folder = MembershipFolder(worker)
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}
    assert folder.load().ray_tls


def test_who_has_a_submit_token_and_the_fingerprint_gets_images_from_it(
    farm: Farm, worker: Path, tmp_path: Path
) -> None:
    token, ca = farm.submit_token()
    with Client(farm.address, token=token, ca=ca) as client:
        job = client.submit(["a red circle"] * 12, steps=2)
        assert job.wait() is JobState.SUCCEEDED
        job.download(tmp_path)
    manifest = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [image["worker"] for image in manifest] == [f"workers/{NAME}"] * 12


def test_a_second_daemon_of_one_name_is_refused_and_the_first_one_works_on(farm: Farm, worker: Path) -> None:
    copy = farm.folder / "copy"
    shutil.copytree(MembershipFolder(worker).path, MembershipFolder(copy).path)
    log = farm.folder / "copy.log"
    process = start(log, farm.folder / "copy-home", "worker", "run", "--folder", copy, "--null-renderer")
    try:
        assert process.wait(PATIENCE) == 1
    finally:
        end(process)
    assert f'Error: Another worker works under the name "{NAME}"' in log.read_text()
    assert eventually(lambda: farm.states() == {NAME: worker_pb2.WORKER_STATE_ACTIVE}), log.read_text()


def test_a_name_that_is_taken_is_refused_when_another_machine_joins(farm: Farm, worker: Path, run: Run) -> None:
    code, _, err = run("worker", "join", farm.invite(), "--name", NAME, "--folder", farm.folder / "other")
    assert code == 1
    assert f'A machine has joined as "{NAME}" already' in err


def test_an_invitation_counts_once_and_joining_again_replaces_what_was(farm: Farm, run: Run) -> None:
    folder, invitation = farm.folder / "again", farm.invite()
    join = ("worker", "join", "--name", "mac-2", "--folder", folder)
    assert run(*join, invitation)[0] == 0
    first = MembershipFolder(folder).load_secrets()
    code, _, err = run(*join, invitation)
    assert (code, "was used, or revoked" in err) == (1, True), err
    code, out, _ = run(*join, farm.invite(), "--json")
    assert (code, json.loads(out)["worker"]) == (0, "workers/mac-2")
    second = MembershipFolder(folder).load_secrets()
    assert second.key_pem != first.key_pem
    assert second.worker_token != first.worker_token


def test_a_farm_with_another_authority_is_not_believed(farm: Farm, run: Run) -> None:
    invitation = farm.invite()
    foreign = Invitation(invitation.address, invitation.token, "sha256:" + "0" * 64)
    code, _, err = run("worker", "join", foreign, "--folder", farm.folder / "foreign")
    assert (code, "is not the farm with the CA" in err) == (1, True), err
    assert not (farm.folder / "foreign").exists()


def test_a_farm_that_does_not_answer_is_told(farm: Farm, run: Run) -> None:
    invitation = farm.invite()
    away = Invitation(free_ray_address(), invitation.token, "sha256:" + "1" * 64)
    code, _, err = run("worker", "join", away, "--folder", farm.folder / "away")
    assert (code, f"No farm answers at {away.address}" in err) == (1, True), err


def test_a_machine_that_runs_something_else_is_told_what_to_install(
    farm: Farm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.cli.joining.own_versions", lambda: Versions("0.0.1", "2.1.0", "3.99.1", ""))
    code, _, err = run("worker", "join", farm.invite(), "--folder", farm.folder / "old")
    assert code == 1
    assert "pip install" in err
    assert "Ray is 2.1.0 there" in err


def test_a_member_of_one_farm_does_not_join_another(farm: Farm, worker: Path, run: Run) -> None:
    invitation = farm.invite()
    other = Invitation(invitation.address, invitation.token, "sha256:" + "2" * 64)
    code, _, err = run("worker", "join", other, "--folder", worker)
    assert (code, "farm worker leave" in err) == (1, True), err


def test_a_certificate_is_renewed_when_the_machine_has_another_address(farm: Farm, run: Run) -> None:
    folder = MembershipFolder(farm.folder / "mover")
    assert run("worker", "join", farm.invite(), "--name", "mover", "--folder", farm.folder / "mover")[0] == 0
    joined, secrets = folder.load(), folder.load_secrets()
    ip = farm.ray_address.rpartition(":")[0]
    keep_valid(folder, ip)
    assert folder.load_secrets() == secrets  # nothing is renewed without need
    folder.save(replace(joined, hosts=("localhost",)), secrets)
    keep_valid(folder, ip)
    assert folder.load() == joined
    assert folder.load_secrets().certificate_pem != secrets.certificate_pem
    assert folder.load_secrets().worker_token == secrets.worker_token


def test_a_worker_starts_with_the_membership_it_has_if_there_is_no_room_for_a_new_one(farm: Farm, run: Run) -> None:
    path = farm.folder / "full"
    folder = MembershipFolder(path)
    assert run("worker", "join", farm.invite(), "--name", "full", "--folder", path)[0] == 0
    joined, secrets = folder.load(), folder.load_secrets()
    (path / ".membership-new").write_text("in the way of a new one")
    assert refreshed(folder) == folder.load() == joined
    assert folder.load_secrets() == secrets
    (path / ".membership-new").unlink()
    assert refreshed(folder) == joined
    assert folder.load_secrets() != secrets


def test_a_worker_learns_from_the_farm_where_ray_is_now(farm: Farm, run: Run) -> None:
    folder = MembershipFolder(farm.folder / "seeker")
    assert run("worker", "join", farm.invite(), "--name", "seeker", "--folder", farm.folder / "seeker")[0] == 0
    folder.save(replace(folder.load(), ray_address="192.0.2.1:7434"), folder.load_secrets())
    assert find_ray(folder) == folder.load().ray_address == farm.ray_address
    folder.save(replace(folder.load(), farm_address=free_ray_address()), folder.load_secrets())
    assert find_ray(folder) == ""


def test_what_would_be_installed_can_be_seen_before(worker: Path, run: Run) -> None:
    code, out, _ = run("worker", "install", "--folder", worker, "--dry-run")
    assert code == 0
    assert str(worker) in out
    assert re.search(r"^(systemctl|launchctl) ", out, re.MULTILINE)


def test_the_owner_gets_a_line_to_paste_from_the_command_line(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "farm", "workers", "invite", "--expires", "2d", "--address"]
    command.append(f"127.0.0.1:{farm.address.rpartition(':')[2]}")
    made = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(farm.folder / "home")}
    )
    line = made.stdout.strip()
    assert line.startswith("farm worker join 'farm://")
    invitation = read_invitation(line.removeprefix("farm worker join "))
    assert invitation.ca == farm.invite().ca
    assert invitation.address == farm.address


def test_a_worker_that_is_to_leave_finishes_what_it_has(farm: Farm, worker: Path) -> None:
    token, ca = farm.submit_token()
    own = MembershipFolder(worker).load_secrets().worker_token
    name = f"workers/{NAME}"
    connection = Connection(find_client_access(farm.address, own, ca), 0.0)
    with contextlib.closing(connection), Client(farm.address, token=token, ca=ca) as client:
        job = client.submit(["a red circle"] * 200, steps=2)
        next(job.images())
        finish(connection, name)
        stopped = next(w for w in client.workers() if w.name == name)
        assert (stopped.state, stopped.current_attempt) == (worker_pb2.WORKER_STATE_DRAINING, "")
        assert not job.explain().lost_attempts, "it gave back what it had"
        connection.call(connection.workers.ResumeWorker, worker_service_pb2.ResumeWorkerRequest(name=name))
        job.cancel()


def test_a_worker_that_still_runs_is_not_torn_away(worker: Path, run: Run) -> None:
    code, _, err = run("worker", "leave", "--folder", worker)
    assert (code, "still runs in a terminal" in err) == (1, True), err


def test_a_machine_that_left_cannot_come_back_without_an_invitation(farm: Farm, run: Run) -> None:
    folder = farm.folder / "leaver"
    assert run("worker", "join", farm.invite(), "--name", "mac-3", "--folder", folder)[0] == 0
    membership, secrets = MembershipFolder(folder).load(), MembershipFolder(folder).load_secrets()
    code, out, _ = run("worker", "leave", "--folder", folder)
    assert (code, "Its rights there are revoked." in out) == (0, True)
    assert not MembershipFolder(folder).exists()
    MembershipFolder(folder).save(membership, secrets)
    code, _, err = run("worker", "run", "--folder", folder, "--null-renderer")
    assert (code, "revoked" in err) == (1, True), err


def test_a_machine_can_leave_a_farm_that_is_gone_and_is_told_what_to_revoke(farm: Farm, run: Run) -> None:
    folder = farm.folder / "orphan"
    assert run("worker", "join", farm.invite(), "--name", "mac-4", "--folder", folder)[0] == 0
    token = MembershipFolder(folder).load().token_name.removeprefix("tokens/")
    end(farm.process)
    code, out, _ = run("worker", "leave", "--folder", folder)
    assert code == 0
    assert f"farm token revoke {token}" in out
    assert not MembershipFolder(folder).exists()
