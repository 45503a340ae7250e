"""`farm render --from`: an image again, from what its file says of how it was made."""

import dataclasses
import enum
import hashlib
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from farm.batch import read_picture
from farm.cli.options import FarmAddress, farm_options, json_option
from farm.cli.output import console, print_json
from farm.cli.progress import follow
from farm.client import Client, Job
from farm.diffusion.png import ImageRecord, read_provenance
from farm.domain import ImageSpec, ImageState, Pin, Provenance
from farm.errors import ArtifactError, FarmError, ImageFailedError, InfeasibleJobError, InvalidRequestError

PINNINGS: Sequence[tuple[str, ...]] = (
    ("model_digest", "attention", "runtime", "compute_unit"),
    ("model_digest", "attention", "runtime"),
    ("model_digest", "attention"),
    ("runtime", "compute_unit"),
    ("runtime",),
    (),
)
"""What of an image's provenance its job is pinned to: the first of these that the farm can do."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far two images agree.

    Attributes:
        psnr: Peak signal-to-noise ratio in decibels, of 8-bit channels; infinite where the pixels are the same.
        largest: The largest difference in a channel, of 255.
    """

    psnr: float
    largest: int


@click.command(
    epilog="""\b
Examples:
  farm render --from out/demo/000003.png
  farm render --from out/demo/000003.png --out again.png --json
  farm render --from out/drawn/000000.png --init-image sketch.png"""
)
@click.option(
    "--from",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="IMAGE.png",
    help="An image that a farm rendered.",
)
@click.option(
    "--init-image",
    "picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The picture that the image started from, if any; not needed if this farm rendered that picture.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save the new image here.")
@farm_options
@json_option
def render(file: Path, picture: Path | None, out: Path | None, farm: FarmAddress, as_json: bool) -> None:
    """Render an image again from the metadata in its file, and say whether the pixels agree.

    The job is pinned to the same model digest, attention variant, runtime and compute unit, as far as the farm has
    them; what still differs is listed. A picture that the image started from must have exactly the bytes that it had
    then, which is checked by their hash. The exit code is 0 if every pixel is the same and 1 if not.
    """
    png = file.read_bytes()
    try:
        record = read_provenance(png)
    except ArtifactError as error:
        raise ArtifactError(f"{file} cannot be rendered again. {error.message}") from None
    if picture is not None and not record.init_image_sha256:
        raise click.UsageError(f"{file} did not start from a picture; leave out --init-image.")
    with farm.connect() as client:
        if record.init_image_sha256:
            init_image = _init_image(client, record.init_image_sha256, file, picture)
            record = dataclasses.replace(record, spec=dataclasses.replace(record.spec, init_image=init_image))
        job, pinned = submit_again(client, record, f"again {file.name}")
        follow(job, console(error=True))
        again = _result(job)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(again)
    comparison = compare(png, again)
    agrees = comparison is not None and comparison.largest == 0
    differences = dict(provenance_differences(record.provenance, read_provenance(again).provenance))
    if as_json:
        print_json(
            {
                "job": job.name,
                "agrees": agrees,
                "psnr": comparison.psnr if comparison and not agrees else None,
                "pinned": list(pinned),
                "differences": {name: {"file": there, "farm": here} for name, (there, here) in differences.items()},
            }
        )
    else:
        click.echo(describe(comparison))
        for name in (name for name in PINNINGS[0] if name not in pinned):
            click.echo(f"It was not pinned to its {name}, which no worker here offers together with the rest.")
        for name, (there, here) in differences.items():
            click.echo(f"  {name}: {there or 'none'} in the file, {here or 'none'} here")
    sys.exit(0 if agrees else 1)


def _init_image(client: Client, sha256: str, file: Path, picture: Path | None) -> bytes:
    """The picture that `file` started from: what is given, or an image of the farm's.

    Raises:
        FarmError: The one that is given is another, or none is and the farm has none with that hash.
    """
    if picture is not None:
        given = read_picture(picture)
        found = hashlib.sha256(given).hexdigest()
        if found == sha256:
            return given
        raise FarmError(
            f"{picture} is not the picture that {file} started from: its SHA-256 is {found} instead of {sha256}."
            " Give the file that was submitted then; a copy that a program has saved again has other bytes."
        )
    for job in client.jobs():
        for page in job.list_images([ImageState.SUCCEEDED]):
            for image in page:
                if image.sha256 == sha256:
                    return job.png(image.index)
    raise FarmError(
        f"{file} started from a picture, of which it keeps only the SHA-256 ({sha256}), and no image of this farm has"
        " it. Give the picture with --init-image FILE."
    )


def submit_again(client: Client, record: ImageRecord, display_name: str) -> tuple[Job, tuple[str, ...]]:
    """Submits an image again, pinned as closely as the farm can; gives the job and what it is pinned to.

    Raises:
        FarmError: The farm cannot render it at all.
    """
    fields = (field.name for field in dataclasses.fields(ImageSpec))
    spec = ImageSpec(**{name: getattr(record.spec, name) for name in fields})
    refusal: FarmError | None = None
    for names in PINNINGS:
        pin = Pin(**{name: getattr(record.provenance, name) for name in names})
        try:
            return client.submit([spec], model=record.provenance.model, display_name=display_name, pin=pin), names
        except InfeasibleJobError as error:
            refusal = error
        except InvalidRequestError as error:
            if not all(field.startswith("spec.pin.") for field in error.violations):
                raise
            refusal = error
    assert refusal is not None
    raise refusal


def _result(job: Job) -> bytes:
    """The image's file.

    Raises:
        ImageFailedError: It could not be rendered.
    """
    for page in job.list_images():
        for image in page:
            if image.sha256:
                return job.png(image.index)
            raise ImageFailedError(f"{job.name} did not make the image: {image.error.message or job.message.reason}")
    raise ImageFailedError(f"{job.name} has no image.")


def compare(first: bytes, second: bytes) -> Comparison | None:
    """How far two PNGs agree; None if they are not of one size."""
    import numpy as np
    from PIL import Image

    pixels = []
    for png in (first, second):
        with Image.open(io.BytesIO(png)) as image:
            pixels.append(np.asarray(image.convert("RGB"), np.float64))
    if pixels[0].shape != pixels[1].shape:
        return None
    difference = pixels[0] - pixels[1]
    error = float(np.mean(difference**2))
    return Comparison(10 * math.log10(255**2 / error) if error else math.inf, int(np.abs(difference).max()))


def describe(comparison: Comparison | None) -> str:
    """The comparison in a sentence."""
    if comparison is None:
        return "The images are not of the same size."
    if comparison.largest == 0:
        return "All pixels agree."
    return f"The pixels differ: PSNR {comparison.psnr:.1f} dB, by {comparison.largest} of 255 at most."


def provenance_differences(there: Provenance, here: Provenance) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yields by name what two images say differently of how they were made."""
    first, second = _told(there), _told(here)
    for name in dict.fromkeys([*first, *second]):
        pair = (first.get(name, ""), second.get(name, ""))
        if pair[0] != pair[1]:
            yield name, pair


def _told(provenance: Provenance) -> dict[str, str]:
    """A provenance in words, by name."""
    fields = dataclasses.asdict(provenance)
    versions = fields.pop("versions")
    told = {name: value.value if isinstance(value, enum.Enum) else str(value) for name, value in fields.items()}
    return told | {f"version of {library}": version for library, version in versions.items()}
