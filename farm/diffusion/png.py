"""PNG files that say how they were made, to the ecosystem's tools and to the farm itself.

`parameters` is AUTOMATIC1111's text, which image browsers and web interfaces read. `farm` is a JSON object with all
that decides the pixels. The same arguments give the same bytes.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from farm.domain import SAMPLERS, AttentionVariant, ChipClass, ComputeUnit, Provenance, RenderSpec
from farm.errors import ArtifactError

PARAMETERS_KEY = "parameters"
PROVENANCE_KEY = "farm"

_MODEL_HASH_DIGITS = 10


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What a PNG file says of itself.

    Attributes:
        spec: What was rendered, without the bytes of `init_image`.
        provenance: How it came to be.
        notes: What its submitter was told.
        init_image_sha256: Names the picture that it started from; empty if there was none.
    """

    spec: RenderSpec
    provenance: Provenance
    notes: tuple[str, ...]
    init_image_sha256: str


def encode_png(
    pixels: NDArray[np.uint8], spec: RenderSpec, provenance: Provenance, notes: tuple[str, ...] = ()
) -> bytes:
    """Encodes an image with its provenance.

    Args:
        pixels: (height, width, 3).
        spec: What was rendered.
        provenance: How.
        notes: What the submitter should know.
    """
    text = PngInfo()
    # A tEXt chunk where Latin-1 suffices and an iTXt one elsewhere, as AUTOMATIC1111 does. JSON escapes all but ASCII.
    text.add_text(PARAMETERS_KEY, parameters_text(spec, provenance))
    text.add_text(PROVENANCE_KEY, json.dumps(_record(spec, provenance, notes), sort_keys=True))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def read_provenance(png: bytes) -> ImageRecord:
    """Reads back what `encode_png` wrote of an image.

    Raises:
        ArtifactError: The bytes are no PNG, or no PNG of the farm.
    """
    try:
        with PngImageFile(io.BytesIO(png)) as image:
            record = json.loads(image.text[PROVENANCE_KEY])
        provenance = record["provenance"]
        return ImageRecord(
            spec=RenderSpec(**record["spec"]),
            provenance=Provenance(
                **provenance
                | {
                    "attention": AttentionVariant(provenance["attention"]),
                    "compute_unit": ComputeUnit(provenance["compute_unit"]),
                    "chip_class": ChipClass(provenance["chip_class"]),
                }
            ),
            notes=tuple(record["notes"]),
            init_image_sha256=record["init_image_sha256"],
        )
    except (OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            "These bytes are not a PNG that a farm wrote, or were changed since, so there is no telling how the image"
            f" was made ({type(error).__name__}: {error}). Tools that edit or share images often drop such text."
        ) from error


def parameters_text(spec: RenderSpec, provenance: Provenance) -> str:
    """AUTOMATIC1111's generation parameters: prompt, negative prompt and a line of `name: value` pairs."""
    settings: dict[str, Any] = {
        "Steps": spec.steps,
        "Sampler": SAMPLERS.get(spec.sampler, spec.sampler),
        "CFG scale": _shortest(spec.guidance_scale),
        "Seed": spec.seed,
        "Size": f"{spec.width}x{spec.height}",
        "Model hash": provenance.model_digest.removeprefix("sha256:")[:_MODEL_HASH_DIGITS],
        "Model": provenance.model,
    }
    if spec.strength is not None:
        settings["Denoising strength"] = _shortest(spec.strength)
    lines = [spec.prompt]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in settings.items()))
    # A lone surrogate, which JSON can carry and UTF-8 cannot, becomes a question mark.
    return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def _shortest(number: float) -> str:
    """As few digits as tell a number from any other."""
    return str(number).removesuffix(".0")


def _quoted(value: str) -> str:
    """Quotes a value that would break the line into the wrong pairs, as AUTOMATIC1111 does."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",:\n") else value


def _record(spec: RenderSpec, provenance: Provenance, notes: tuple[str, ...]) -> Mapping[str, Any]:
    init_image = spec.init_image
    return {
        "spec": {
            field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name != "init_image"
        },
        "init_image_sha256": hashlib.sha256(init_image).hexdigest() if init_image is not None else "",
        "provenance": {
            "model": provenance.model,
            "model_digest": provenance.model_digest,
            "attention": provenance.attention.name,
            "runtime": provenance.runtime,
            "compute_unit": provenance.compute_unit.name,
            "chip": provenance.chip,
            "chip_class": provenance.chip_class.name,
            "versions": dict(provenance.versions),
        },
        "notes": list(notes),
    }
