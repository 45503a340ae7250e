"""Folders that a job's images are pulled into."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from farm.api.status import failure_status
from farm.errors import ArtifactError
from farm.output_folder import CONTACT_SHEET, MANIFEST, output_folder
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
    with output_folder(folder) as output:
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
        index=0, state=job_pb2.IMAGE_STATE_FAILED, error=failure_status("NOT_FINITE", "The latents are not finite.")
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
    with pytest.raises(ArtifactError, match="jobs/j/images/0 was damaged"), output_folder(tmp_path) as output:
        output.store(committed(0), png(0)[:-1])
    assert list(tmp_path.iterdir()) == []
