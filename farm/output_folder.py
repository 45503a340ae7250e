"""A folder that holds a job's images: `NNNNNN.png` by index, `manifest.jsonl`, `contact-sheet.png`.

It is filled page by page, so a job of a million images needs no more memory than one page; and again from where it
stopped, since files that are there with the right hash are kept. Every file is written beside its place and renamed,
so that none is ever half there under its name. A folder belongs to one job: pictures of two would lie under the same
names.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from farm.api.json_form import json_form
from farm.contact_sheet import MAX_CELLS, Cell, draw_contact_sheet
from farm.errors import ArtifactError, OutputFolderError
from farm.v1 import job_pb2

MANIFEST = "manifest.jsonl"
CONTACT_SHEET = "contact-sheet.png"

_NAMED = 20
"""Damaged images that an error names; it counts all of them."""

_IMAGE_FILE = re.compile(r"\d{6,}\.png", re.ASCII)


def file_name(index: int) -> str:
    """Name of an image's file; numbers with more than six digits are written in full."""
    return f"{index:06d}.png"


def check_output_folder(folder: Path, job: str = "") -> None:
    """Makes sure that `folder`, which is made if need be, can take the images of a job.

    Args:
        folder: Where the images are to lie.
        job: The job's resource name; empty for one that is not submitted yet.

    Raises:
        OutputFolderError: It cannot be written, or it holds another job's images.
    """
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _replacing(folder / MANIFEST, keep=False):
            pass
    owner = next((str(entry.get("name", "")).partition("/images/")[0] for entry in _entries(folder)), job)
    if owner != job:
        raise OutputFolderError(
            f"{folder} holds the images of {owner or 'something else'}, and those of two jobs would lie under the same "
            "names. Choose another folder, or move that one away.",
            folder=str(folder),
        )


def clear_output_folder(folder: Path) -> None:
    """Removes what an earlier job left in `folder`: the images that its manifest names, the manifest, the sheet.

    Raises:
        OutputFolderError: A file cannot be removed, or the manifest is not one.
    """
    names = {str(entry.get("file")) for entry in _entries(folder)}
    with _told(folder):
        for name in (*filter(_IMAGE_FILE.fullmatch, names), CONTACT_SHEET, MANIFEST):
            (folder / name).unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[dict[str, object]]:
    """The objects of the folder's manifest; none if there is no manifest."""
    with _told(folder), contextlib.suppress(FileNotFoundError), (folder / MANIFEST).open("rb") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if not isinstance(entry, dict):
                raise OutputFolderError(
                    f"{folder / MANIFEST} is not a manifest of the farm. It would be overwritten: move it away, or "
                    "choose another folder.",
                    folder=str(folder),
                )
            yield entry


@contextlib.contextmanager
def output_folder(folder: Path, job: str) -> Iterator["OutputFolder"]:
    """Fills `folder`, which is made if need be; manifest and contact sheet appear when the block ends well.

    Args:
        folder: Where the images are to lie.
        job: Resource name of the job that they are of.

    Raises:
        OutputFolderError: It cannot be written, or it holds another job's images.
        ArtifactError: Images were damaged; all others are there, with manifest and contact sheet.
    """
    check_output_folder(folder, job)
    with _told(folder), _replacing(folder / MANIFEST) as manifest:
        output = OutputFolder(folder, manifest)
        yield output
    output.draw_sheet()
    output.complain(job)


class OutputFolder:
    """Collects one job's images; made by `output_folder`.

    Attributes:
        count: Images that were recorded and have a file.
    """

    def __init__(self, folder: Path, manifest: BinaryIO) -> None:
        self.count = 0
        self._folder = folder
        self._manifest = manifest
        self._cells: list[Cell] = []
        self._damaged: set[int] = set()

    def missing(self, page: Sequence[job_pb2.Image]) -> list[int]:
        """Indices of the committed images of `page` whose file is not there yet."""
        return [image.index for image in page if image.sha256 and not self._holds(image)]

    def _holds(self, image: job_pb2.Image) -> bool:
        try:
            return hashlib.sha256((self._folder / file_name(image.index)).read_bytes()).hexdigest() == image.sha256
        except FileNotFoundError:
            return False

    def store(self, image: job_pb2.Image, png: bytes) -> None:
        """Writes one image's file.

        Raises:
            ArtifactError: `png` is not what the farm committed.
        """
        if hashlib.sha256(png).hexdigest() != image.sha256:
            raise ArtifactError(f"{image.name} was damaged on its way here; download it again.", image=image.name)
        with _replacing(self._folder / file_name(image.index)) as file:
            file.write(png)

    def skip_damaged(self, error: ArtifactError, wanted: Sequence[int]) -> list[int]:
        """Notes that an image is damaged, and gives those of `wanted`, which come by index, that come after it.

        Raises:
            ArtifactError: `error` does not say which image it is about.
        """
        number = error.metadata.get("image", "").rpartition("/images/")[2]
        if not number.isdecimal():
            raise error
        self._damaged.add(int(number))
        return [index for index in wanted if index > int(number)]

    def record(self, page: Sequence[job_pb2.Image]) -> None:
        """Notes images in the manifest, one object each: `Image`'s fields, the `prompt`, and the `file` or null."""
        for image in page:
            file = file_name(image.index) if image.sha256 and image.index not in self._damaged else None
            self.count += file is not None
            entry = {"index": image.index, "file": file, "prompt": image.spec.prompt, **json_form(image)}
            self._manifest.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            if len(self._cells) < MAX_CELLS:
                state = job_pb2.ImageState.Name(image.state).removeprefix("IMAGE_STATE_").lower()
                word = "damaged" if image.index in self._damaged else state
                self._cells.append(Cell(self._folder / file if file else None, _settings(image.spec), word))

    def draw_sheet(self) -> None:
        """Draws the contact sheet of what was recorded; without an image there is none."""
        with _told(self._folder):
            if not any(cell.file for cell in self._cells):
                (self._folder / CONTACT_SHEET).unlink(missing_ok=True)
                return
            with _replacing(self._folder / CONTACT_SHEET) as file:
                draw_contact_sheet(self._cells).save(file, format="PNG")

    def complain(self, job: str) -> None:
        """Names the images that were damaged, if any were.

        Raises:
            ArtifactError: Some were.
        """
        if not self._damaged:
            return
        named = sorted(self._damaged)
        indices = ", ".join(map(str, named[:_NAMED])) + (" and more" if len(named) > _NAMED else "")
        raise ArtifactError(
            f"Images of {job} are damaged on the coordinator and were left out ({len(named)} by index: {indices}). The "
            f"other {self.count} are in {self._folder}. Render the damaged ones again with `farm retry "
            f"{job.removeprefix('jobs/')}`, then fetch again.",
            job=job,
            indices=indices,
        )


def _settings(spec: job_pb2.ImageSpec) -> dict[str, str]:
    """What an image was made with, in words; whole numbers without a point."""
    return {field.name: f"{value:g}" if isinstance(value, float) else str(value) for field, value in spec.ListFields()}


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tells a failure of the file system in the farm's words."""
    try:
        yield
    except OSError as error:
        raise OutputFolderError(
            f"{folder} cannot take the images ({error.strerror or error}). Choose another folder, or make this one "
            "writable and see that its disk has room.",
            folder=str(folder),
        ) from error


@contextlib.contextmanager
def _replacing(path: Path, *, keep: bool = True) -> Iterator[BinaryIO]:
    """A file that takes `path`'s place when the block ends well, and leaves nothing behind when it does not.

    Without `keep` it never does: whether it could be written is all that is asked.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        if keep:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
