"""What must be the same on a worker and its coordinator."""

from dataclasses import replace
from pathlib import Path

import pytest

from farm.access.versions import check_versions, own_versions, source_digest
from farm.errors import VersionMismatchError


def test_the_same_everywhere_is_well() -> None:
    own = own_versions()
    check_versions(own, own)
    check_versions(replace(own, python=f"{own.python}1"), own)  # a patch more


@pytest.mark.parametrize("other", ["", "0" * 64])
def test_two_checkouts_of_one_version_are_told_apart_and_how_to_make_them_one_is_said(other: str) -> None:
    own = own_versions()
    with pytest.raises(
        VersionMismatchError, match=rf"source is .* there and {own.source[:12]} on .*check out the commit"
    ):
        check_versions(replace(own, source=other), own)


def test_of_another_version_the_source_is_not_spoken_of() -> None:
    own = own_versions()
    with pytest.raises(VersionMismatchError, match=r"the farm is 0\.0\.1 there") as told:
        check_versions(replace(own, farm="0.0.1", source=""), own)
    assert "source" not in told.value.message


def test_every_source_file_and_its_name_count(tmp_path: Path) -> None:
    def package(name: str, **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text)
        return folder

    first = source_digest(package("first", a="1", b="2"))
    assert source_digest(package("same", a="1", b="2")) == first
    assert source_digest(package("changed", a="1", b="3")) != first
    assert source_digest(package("renamed", a="1", c="2")) != first
