"""`farm token`."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import Run


def test_a_token_is_printed_once_alone_on_its_line_and_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run("token", "create", "--role", "submit", "--name", "anna", "--expires", "30d")
    secret = out.strip()
    assert (code, bool(re.fullmatch(r"farm_\w+_[\w-]+", secret))) == (0, True)
    assert "To use it on this machine, since the farm listens only here:" in err
    assert re.search(rf"export FARM_ADDRESS=\S+ FARM_CA=sha256:[0-9a-f]{{64}} FARM_TOKEN={secret}", err)
    _, listed, _ = run("token", "list")
    assert "anna" in listed
    assert secret not in listed
    monkeypatch.setenv("FARM_TOKEN", secret)
    assert run("jobs")[0] == 0
    code, _, err = run("token", "list")
    assert (code, "needs a token with the role admin" in err) == (1, True)


def test_a_revoked_token_is_listed_as_such_and_counts_no_more(run: Run) -> None:
    made = json.loads(run("token", "create", "--name", "bert", "--json")[1])
    assert run("jobs", "--token", made["secret"])[0] == 0
    code, out, _ = run("token", "revoke", made["token"]["name"].removeprefix("tokens/"))
    assert (code, "of bert is revoked" in out) == (0, True)
    code, _, err = run("jobs", "--token", made["secret"])
    assert (code, "was revoked" in err) == (1, True)
    (listed,) = [one for one in json.loads(run("token", "list", "--json")[1]) if one["name"] == made["token"]["name"]]
    assert listed["revoke_time"]
    assert (listed["role"], "secret" in listed) == ("ROLE_SUBMIT", False)


@pytest.mark.parametrize("expires", ["0d", "30", "d", "-1d", "1y"])
def test_a_lifetime_that_is_none_is_told(run: Run, expires: str) -> None:
    code, _, err = run("token", "create", "--name", "anna", "--expires", expires)
    assert (code, "Write 90m, 12h, 30d or 8w" in err) == (2, True)


def test_a_name_that_looks_like_markup_is_printed_as_it_is(run: Run) -> None:
    code, _, err = run("token", "create", "--name", "[red]anna[/]")
    assert (code, "of [red]anna[/];" in err) == (0, True)


@pytest.mark.parametrize("name", ["", " anna", "a\nb", "x" * 65])
def test_a_name_that_nobody_could_read_is_refused(run: Run, name: str) -> None:
    code, _, err = run("token", "create", "--name", name)
    assert (code, "1 to 64 printable characters" in err) == (1, True)


def test_revoking_what_is_not_there_says_how_to_find_what_is(run: Run) -> None:
    code, _, err = run("token", "revoke", "nothing")
    assert (code, "farm token list" in err) == (1, True)


def test_help_does_not_wait_for_cryptography() -> None:
    code = "import sys, farm.cli.main as m\ntry: m.main(['--help'])\nfinally: assert 'cryptography' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
