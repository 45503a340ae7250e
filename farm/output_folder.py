"""A folder that holds a job's images: `NNNNNN.png` by index, `manifest.jsonl`, `contact-sheet.png`.

It is filled page by page, so a job of a million images needs no more memory than one page; and again from where it
stopped, since files that are there with the right hash are kept. Every file is written beside its place and renamed,
so that none is ever half there under its name.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from farm.api.plain import to_plain
from farm.contact_sheet import MAX_CELLS, Cell, draw_contact_sheet
from farm.errors import ArtifactError
from farm.v1 import job_pb2

MANIFEST = "manifest.jsonl"
CONTACT_SHEET = "contact-sheet.png"


def file_name(index: int) -> str:
    """Name of an image's file; numbers with more than six digits are written in full."""
    return f"{index:06d}.png"


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator["OutputFolder"]:
    """Fills `folder`, which is made if need be; manifest and contact sheet appear when the block ends well."""
    folder.mkdir(parents=True, exist_ok=True)
    with _replacing(folder / MANIFEST) as manifest:
        output = OutputFolder(folder, manifest)
        yield output
    output.draw_sheet()


class OutputFolder:
    """Collects one job's images; made by `output_folder`."""

    def __init__(self, folder: Path, manifest: BinaryIO) -> None:
        self._folder = folder
        self._manifest = manifest
        self._cells: list[Cell] = []

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

    def record(self, page: Sequence[job_pb2.Image]) -> None:
        """Notes images in the manifest, one object each: `Image`'s fields, the `prompt`, and the `file` or null."""
        for image in page:
            file = file_name(image.index) if image.sha256 else None
            entry = {"index": image.index, "file": file, "prompt": image.spec.prompt, **to_plain(image)}
            self._manifest.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            if len(self._cells) < MAX_CELLS:
                self._cells.append(Cell(self._folder / file if file else None, _settings(image.spec)))

    def draw_sheet(self) -> None:
        """Draws the contact sheet of what was recorded; without an image there is none."""
        if any(cell.file for cell in self._cells):
            with _replacing(self._folder / CONTACT_SHEET) as file:
                draw_contact_sheet(self._cells).save(file, format="PNG")


def _settings(spec: job_pb2.ImageSpec) -> dict[str, str]:
    """What an image was made with, in words; whole numbers without a point."""
    return {field.name: f"{value:g}" if isinstance(value, float) else str(value) for field, value in spec.ListFields()}


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes `path`'s place when the block ends well, and leaves nothing behind when it does not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
