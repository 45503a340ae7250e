import getpass
import os

import pytest

from farm.access.user import user_name


def test_a_user_is_called_by_name_and_without_one_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_name() == getpass.getuser()
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    assert user_name() == "user 1234567"
