"""Folders that a job's images are pulled into."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from farm.api.status import failure_status
from farm.errors import ArtifactError, OutputFolderError
from farm.output_folder import CONTACT_SHEET, MANIFEST, check_output_folder, clear_output_folder, output_folder
from farm.v1 import job_pb2


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def committed(index: int) -> job_pb2.Image:
    return job_pb2.Image(
        name=f"jobs/j/images/{index}",
        index=index,
        state=job_pb2.IMAGE_STATE_SUCCEEDED,
        seed=2**32 - 1,
        spec=job_pb2.ImageSpec(prompt=f"picture {index}"),
        sha256=hashlib.sha256(png(index)).hexdigest(),
    )


def fill(folder: Path, images: list[job_pb2.Image]) -> list[int]:
    """Does what a download does, and says which images it fetched."""
    with output_folder(folder, "jobs/j") as output:
        missing = output.missing(images)
        for index in missing:
            output.store(images[index], png(index))
        output.record(images)
    return missing


def manifest(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def test_a_filled_folder_holds_the_images_the_manifest_and_the_sheet_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path / "new" / "out", [committed(0), committed(1)])
    names = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert names == ["000000.png", "000001.png", CONTACT_SHEET, MANIFEST]
    assert (tmp_path / "new" / "out" / "000001.png").read_bytes() == png(1)


def test_the_manifest_has_an_object_an_image_with_the_fields_of_the_api_and_numbers_as_numbers(tmp_path: Path) -> None:
    fill(tmp_path, [committed(0)])
    (entry,) = manifest(tmp_path)
    assert entry["index"] == 0
    assert entry["file"] == "000000.png"
    assert entry["prompt"] == "picture 0"
    assert entry["seed"] == 2**32 - 1
    assert entry["state"] == "IMAGE_STATE_SUCCEEDED"
    assert entry["sha256"] == hashlib.sha256(png(0)).hexdigest()
    assert {field.name for field in job_pb2.Image.DESCRIPTOR.fields} - set(entry) <= {
        "error",
        "finish_time",
        "render_duration",
    }


def test_a_failed_image_is_in_the_manifest_with_its_error_and_without_a_file(tmp_path: Path) -> None:
    failed = job_pb2.Image(
        name="jobs/j/images/0",
        index=0,
        state=job_pb2.IMAGE_STATE_FAILED,
        error=failure_status("NOT_FINITE", "The latents are not finite."),
    )
    assert fill(tmp_path, [failed]) == []
    (entry,) = manifest(tmp_path)
    assert entry["file"] is None
    assert "not finite" in json.dumps(entry["error"])
    assert not (tmp_path / CONTACT_SHEET).exists()


def test_filling_again_fetches_only_what_is_missing_or_wrong(tmp_path: Path) -> None:
    images = [committed(0), committed(1), committed(2)]
    assert fill(tmp_path, images) == [0, 1, 2]
    (tmp_path / "000001.png").write_bytes(b"half of a file")
    (tmp_path / "000002.png").unlink()
    assert fill(tmp_path, images) == [1, 2]
    assert fill(tmp_path, images) == []
    assert (tmp_path / "000001.png").read_bytes() == png(1)


def test_bytes_that_are_not_what_was_committed_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match="jobs/j/images/0 was damaged"),
        output_folder(tmp_path, "jobs/j") as output,
    ):
        output.store(committed(0), png(0)[:-1])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_is_left_out_and_named_once_all_others_are_there(tmp_path: Path) -> None:
    images = [committed(0), committed(1), committed(2)]

    def fill_what_is_whole() -> None:
        with output_folder(tmp_path, "jobs/j") as output:
            output.store(images[0], png(0))
            with pytest.raises(ArtifactError) as damage:
                output.store(images[1], b"half")
            assert output.skip_damaged(damage.value, [0, 1, 2]) == [2]
            output.store(images[2], png(2))
            output.record(images)

    with pytest.raises(ArtifactError, match=r"1 by index: 1\).*other 2 .*farm retry j"):
        fill_what_is_whole()
    assert [entry["file"] for entry in manifest(tmp_path)] == ["000000.png", None, "000002.png"]
    assert (tmp_path / CONTACT_SHEET).exists()


def test_a_folder_with_another_jobs_images_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, [committed(0)])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    check_output_folder(tmp_path, "jobs/j")
    for job in ("jobs/k", ""):
        with pytest.raises(OutputFolderError, match="holds the images of jobs/j"):
            check_output_folder(tmp_path, job)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_manifest_that_is_none_of_the_farms_is_not_overwritten(tmp_path: Path) -> None:
    for content in (b"not JSON\n", b"[1]\n", b'{"name": "shopping"}\n'):
        (tmp_path / MANIFEST).write_bytes(content)
        with pytest.raises(OutputFolderError, match=r"is not a manifest|holds the images of"):
            check_output_folder(tmp_path, "jobs/j")
        assert (tmp_path / MANIFEST).read_bytes() == content


def test_a_folder_that_cannot_be_made_is_told_in_the_farms_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputFolderError, match="cannot take the images"):
            check_output_folder(folder)


def test_clearing_a_folder_removes_what_its_manifest_names_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    fill(folder, [committed(0), committed(1)])
    (folder / "000007.png").write_bytes(b"mine")
    (tmp_path / "000001.png").write_bytes(b"mine")
    with (folder / MANIFEST).open("a") as lines:
        lines.write(json.dumps({"name": "jobs/j/images/2", "file": "../000001.png"}) + "\n")
    clear_output_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["000007.png"]
    assert (tmp_path / "000001.png").exists()
    clear_output_folder(tmp_path / "nowhere")
