import hashlib
import os
import sys
from pathlib import Path

import pytest

from farm.coordinator.artifacts import ArtifactStore, Stored


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "images")


def files(store: ArtifactStore) -> set[str]:
    root = store.path("j", 0, 0).parents[2]
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_an_image_is_on_disk_under_its_attempt_with_its_hash(store: ArtifactStore) -> None:
    path = store.path("j", 1234567, 3)
    assert store.store([(path, b"png")]) == [Stored(hashlib.sha256(b"png").hexdigest(), 3)]
    assert path.read_bytes() == b"png"
    assert files(store) == {"j/01234/01234567-3.png"}


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac flushes files by another call")
def test_an_image_is_flushed_before_it_has_its_name_and_its_folder_before_it_is_said_to_be_stored(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[str, int]] = []
    flush, rename = os.fsync, os.rename

    def note_flush(descriptor: int) -> None:
        flush(descriptor)
        happened.append(("flushed", os.fstat(descriptor).st_ino))

    def note_rename(source: Path, target: Path) -> None:
        rename(source, target)
        happened.append(("named", target.stat().st_ino))

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "rename", note_rename)
    path = store.path("j", 0, 1)
    store.store([(path, b"png")])
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert happened[-3:] == [("flushed", file), ("named", file), ("flushed", folder)]
    above = {path.parents[1].stat().st_ino, path.parents[2].stat().st_ino}
    assert {inode for what, inode in happened[:-3] if what == "flushed"} == above, "new folders are flushed into theirs"


def test_two_attempts_at_an_image_never_share_a_file(store: ArtifactStore) -> None:
    store.store([(store.path("j", 0, 1), b"first"), (store.path("j", 0, 2), b"second")])
    assert store.path("j", 0, 1).read_bytes() == b"first"


def test_a_file_that_cannot_be_written_leaves_nothing_and_spares_the_others(store: ArtifactStore) -> None:
    in_the_way, fine = store.path("j", 0, 1), store.path("j", 1, 1)
    in_the_way.mkdir(parents=True)
    failed, stored = store.store([(in_the_way, b"png"), (fine, b"png")])
    assert isinstance(failed, OSError)
    assert isinstance(stored, Stored)
    assert files(store) == {"j/00000/00000001-1.png"}


def test_a_folder_that_cannot_be_made_fails_its_own_files_and_no_others(store: ArtifactStore) -> None:
    fine = store.path("j", 0, 1)
    store.store([(fine, b"png")])
    fine.parents[1].with_name("blocked").write_bytes(b"a file where the job's folder would be")
    blocked = [store.path("blocked", index, 1) for index in range(2)]
    *failed, stored = store.store([*((path, b"png") for path in blocked), (fine, b"png")])
    assert [type(outcome) for outcome in failed] == [NotADirectoryError] * 2
    assert isinstance(stored, Stored)


def test_what_no_commit_names_is_swept_away(store: ArtifactStore) -> None:
    kept, orphan, half, gone = (store.path(*key) for key in (("j", 0, 1), ("j", 0, 2), ("j", 1, 1), ("deleted", 0, 1)))
    store.store([(kept, b"a"), (orphan, b"b"), (gone, b"c")])
    half.with_suffix(".part").write_bytes(b"half")
    store.sweep({"j"})
    store.sweep_job("j", {0: (1, "any")})
    assert files(store) == {"j/00000/00000000-1.png"}
