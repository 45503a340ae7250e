import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.cli.invitation import Invitation, read_invitation
from farm.errors import InvitationError

CA = "sha256:" + "0f" * 32
LINE = f"farm://studio.local:7433?token=farm_1_x&ca={CA}"

hosts = st.sampled_from(["studio.local", "192.168.1.5", "[fd00::2]"])


@given(hosts, st.integers(1, 65535), st.text(min_size=1))
def test_an_invitation_is_read_as_it_was_written(host: str, port: int, token: str) -> None:
    invitation = Invitation(f"{host}:{port}", token, CA)
    assert read_invitation(str(invitation)) == invitation


def test_the_line_is_short_and_can_be_pasted_with_quotes_and_spaces_around_it() -> None:
    assert str(Invitation("studio.local:7433", "farm_1_x", CA)) == LINE
    assert read_invitation(f"  '{LINE}' \n") == read_invitation(LINE)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "does not name a farm"),
        ("studio.local:7433", "does not name a farm"),
        ("farm://studio.local?token=a&ca=b", "does not name a farm"),
        (LINE.replace("farm://", "https://"), "does not begin with farm://"),
        (LINE.partition("&")[0], "put the whole line between quotes"),
        (LINE.partition("?")[0], "has no token="),
        (LINE[:-1], "part of the line may be missing"),
    ],
)
def test_what_is_no_invitation_says_what_is_wrong_with_it(line: str, says: str) -> None:
    with pytest.raises(InvitationError, match="farm workers invite") as caught:
        read_invitation(line)
    assert says in caught.value.message
