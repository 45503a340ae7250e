import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farm.errors import MembershipError
from farm.worker.membership import Membership, MembershipFolder, Secrets

MEMBERSHIP = Membership(
    "studio-3", "farm.local:7433", "sha256:00", "192.0.2.1:7434", True, "tokens/a", ("192.0.2.9", "localhost")
)
SECRETS = Secrets(b"key", b"certificate", b"authority", "ray's token", "the worker's token")


def test_a_membership_is_read_as_it_was_written_and_only_by_its_user(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path / "worker")
    assert not folder.exists()
    folder.save(MEMBERSHIP, SECRETS)
    assert (folder.load(), folder.load_secrets()) == (MEMBERSHIP, SECRETS)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


def test_a_new_membership_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path)
    folder.save(MEMBERSHIP, SECRETS)
    folder.save(replace(MEMBERSHIP, worker_id="other"), replace(SECRETS, key_pem=b"another"))
    assert (folder.load().worker_id, folder.load_secrets().key_pem) == ("other", b"another")
    assert [path.name for path in tmp_path.iterdir()] == ["membership"]


def test_a_crash_between_the_old_membership_and_the_new_one_costs_neither(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path)
    folder.save(MEMBERSHIP, SECRETS)
    shutil.copytree(folder.path, tmp_path / ".membership-new")
    folder.path.rename(tmp_path / ".membership-old")
    assert MembershipFolder(tmp_path).exists()
    assert MembershipFolder(tmp_path).load() == MEMBERSHIP


def test_without_a_membership_it_is_said_how_to_join(tmp_path: Path) -> None:
    with pytest.raises(MembershipError, match="farm workers invite"):
        MembershipFolder(tmp_path).load()


def test_a_damaged_membership_says_how_to_begin_anew(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path)
    folder.save(MEMBERSHIP, SECRETS)
    (folder.path / "membership.json").write_text("{")
    with pytest.raises(MembershipError, match="farm worker leave"):
        folder.load()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_bytes(b"")  # no file can be made in it, not even by root
    with pytest.raises(MembershipError, match=r"cannot be stored in .*in-the-way"):
        MembershipFolder(tmp_path / "in-the-way").save(MEMBERSHIP, SECRETS)


def test_ray_is_told_of_certificates_where_the_farm_speaks_tls_and_only_there(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path)
    with_tls = folder.ray_security(MEMBERSHIP).environment()
    assert with_tls["RAY_TLS_SERVER_KEY"] == str(folder.path / "key.pem")
    assert folder.ray_security(replace(MEMBERSHIP, ray_tls=False)).environment()["RAY_USE_TLS"] == "0"


def test_a_membership_can_be_forgotten(tmp_path: Path) -> None:
    folder = MembershipFolder(tmp_path)
    folder.save(MEMBERSHIP, SECRETS)
    folder.remove()
    assert not folder.exists()
