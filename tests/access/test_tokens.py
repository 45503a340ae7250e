"""Tokens, and what is kept of them."""

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.access.tokens import LOCAL, LOCAL_FILE, Role, Token, Tokens
from farm.errors import AccessFilesError, TokenNotFoundError, UnauthenticatedError


@dataclass
class Watch:
    """A clock that a test sets."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "access"


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def tokens(folder: Path, watch: Watch) -> Tokens:
    return Tokens(folder, watch)


def counts(tokens: Tokens, secret: str) -> bool:
    try:
        tokens.verify(secret)
    except UnauthenticatedError:
        return False
    return True


def test_a_token_is_known_by_its_secret_and_starts_with_its_readable_name(tokens: Tokens) -> None:
    token, secret = tokens.create(Role.SUBMIT, "anna")
    assert secret.startswith(f"farm_{token.token_id}_")
    found = tokens.verify(secret)
    assert (found.token_id, found.role, found.display_name) == (token.token_id, Role.SUBMIT, "anna")


def test_a_secret_that_is_not_the_tokens_is_refused(tokens: Tokens) -> None:
    _, secret = tokens.create(Role.SUBMIT, "anna")
    for wrong in (secret[:-1], f"{secret}x", secret.swapcase(), secret.removeprefix("farm_"), "", "\udcff"):
        assert not counts(tokens, wrong)


def test_no_file_holds_a_secret_and_none_can_be_read_by_others(tokens: Tokens, folder: Path) -> None:
    _, secret = tokens.create(Role.ADMIN, "anna")
    for path in folder.iterdir():
        assert secret.split("_", 2)[2] not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_tokens_and_their_revocation_survive_a_restart(tokens: Tokens, folder: Path, watch: Watch) -> None:
    _, kept = tokens.create(Role.SUBMIT, "anna", expire_time=2000.0)
    revoked, gone = tokens.create(Role.SUBMIT, "bert")
    tokens.revoke(revoked.token_id)
    again = Tokens(folder, watch)
    assert counts(again, kept)
    assert not counts(again, gone)
    assert {token.token_id for token in again.all()} == {token.token_id for token in tokens.all()}


def test_a_token_ends_with_its_time_and_says_so(tokens: Tokens, watch: Watch) -> None:
    _, secret = tokens.create(Role.SUBMIT, "anna", expire_time=1010.0)
    assert counts(tokens, secret)
    watch.time = 1010.0
    with pytest.raises(UnauthenticatedError, match=r'of "anna" has expired.*farm token create'):
        tokens.verify(secret)


def test_revoking_twice_keeps_the_first_time_and_revoking_nothing_is_an_error(tokens: Tokens, watch: Watch) -> None:
    token, secret = tokens.create(Role.SUBMIT, "anna")
    first = tokens.revoke(token.token_id)
    watch.time += 5
    assert tokens.revoke(token.token_id).revoke_time == first.revoke_time == 1000.0
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        tokens.verify(secret)
    with pytest.raises(TokenNotFoundError):
        tokens.revoke("nothing")


def test_of_many_who_use_an_invite_at_once_one_gets_a_worker_token(tokens: Tokens) -> None:
    _, invite = tokens.create(Role.JOIN, "invite")

    def join(number: int) -> bool:
        try:
            tokens.exchange(invite, Role.WORKER, f"mac-{number}")
        except UnauthenticatedError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(join, range(8))) == 1
    assert [token.role for token in tokens.all() if token.revoke_time is None] == [Role.WORKER]


def test_use_is_noted_to_the_hour(tokens: Tokens, folder: Path, watch: Watch) -> None:
    token, secret = tokens.create(Role.SUBMIT, "anna")

    def noted() -> Token:
        return next(one for one in Tokens(folder, watch).all() if one.token_id == token.token_id)

    assert noted().last_use_time is None
    tokens.verify(secret)
    watch.time += 60
    tokens.verify(secret)
    assert noted().last_use_time == 1000.0
    watch.time += 3600
    tokens.verify(secret)
    assert noted().last_use_time == 4660.0


def test_the_local_token_is_another_at_each_start(folder: Path, watch: Watch) -> None:
    secrets = []
    for _ in range(2):
        tokens = Tokens(folder, watch)
        tokens.renew_local("anna")
        secrets.append((folder / LOCAL_FILE).read_text())
    assert not counts(tokens, secrets[0])
    assert tokens.verify(secrets[1]).token_id == LOCAL
    assert stat.S_IMODE((folder / LOCAL_FILE).stat().st_mode) == 0o600


def test_what_counts_no_more_is_listed_for_a_while_and_then_forgotten(tokens: Tokens, watch: Watch) -> None:
    tokens.create(Role.SUBMIT, "old", expire_time=1001.0)
    watch.time += 86400
    tokens.create(Role.SUBMIT, "new")
    assert {token.display_name for token in tokens.all()} == {"old", "new"}
    watch.time += 91 * 86400
    tokens.create(Role.SUBMIT, "newest")
    assert {token.display_name for token in tokens.all()} == {"new", "newest"}


@pytest.mark.parametrize("content", ["", "{}", "[{}]", '[{"token_id": 1}]'])
def test_a_damaged_file_of_tokens_lets_nobody_in_and_is_told(folder: Path, content: str) -> None:
    Tokens(folder).create(Role.SUBMIT, "anna")
    (folder / "tokens.json").write_text(content)
    with pytest.raises(AccessFilesError, match="Restore it from a backup"):
        Tokens(folder)
