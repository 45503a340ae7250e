import dataclasses
import hashlib
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from farm.diffusion.png import PARAMETERS_KEY, encode_png, parameters_text, read_provenance
from farm.errors import ArtifactError
from tests.diffusion.models import PROVENANCE, spec

PIXELS = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)

texts = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(alphabet='a",:\\\n\r\0 é星', max_size=30)


def text_chunk(png: bytes, key: str) -> str:
    with PngImageFile(io.BytesIO(png)) as image:
        return image.text[key]


def test_pixels_survive() -> None:
    with Image.open(io.BytesIO(encode_png(PIXELS, spec(), PROVENANCE))) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_the_parameters_read_as_automatic1111_writes_them() -> None:
    wanted = spec(prompt="a star,\non blue", negative_prompt="ring", steps=20, guidance_scale=2.0, seed=7)

    assert text_chunk(encode_png(PIXELS, wanted, PROVENANCE), PARAMETERS_KEY) == (
        "a star,\non blue\n"
        "Negative prompt: ring\n"
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 2, Seed: 7, Size: 64x64, Model hash: 0123456789, Model: shapes"
    )


def test_without_a_negative_prompt_its_line_is_left_out() -> None:
    assert parameters_text(spec(prompt="a", negative_prompt=""), PROVENANCE).startswith("a\nSteps: 4, ")


def test_a_models_name_with_a_comma_is_quoted() -> None:
    provenance = dataclasses.replace(PROVENANCE, model="a, b: c")

    assert parameters_text(spec(), provenance).endswith('Model: "a, b: c"')


@given(prompt=texts, negative_prompt=texts, guidance_scale=st.floats(allow_nan=False, allow_infinity=False))
def test_every_prompt_and_number_survives_in_provenance_and_in_the_parameters(
    prompt: str, negative_prompt: str, guidance_scale: float
) -> None:
    wanted = spec(prompt=prompt, negative_prompt=negative_prompt, guidance_scale=guidance_scale)

    png = encode_png(PIXELS, wanted, PROVENANCE, ("a note", negative_prompt))
    record = read_provenance(png)

    assert record.spec == wanted
    assert record.provenance == PROVENANCE
    assert record.notes == ("a note", negative_prompt)
    assert text_chunk(png, PARAMETERS_KEY) == parameters_text(wanted, PROVENANCE)
    assert text_chunk(png, PARAMETERS_KEY).startswith(prompt + "\n")


def test_a_lone_surrogate_survives_in_provenance_and_breaks_nothing() -> None:
    wanted = spec(prompt="a \ud800 b")

    png = encode_png(PIXELS, wanted, PROVENANCE)

    assert read_provenance(png).spec == wanted
    assert text_chunk(png, PARAMETERS_KEY).startswith("a ? b\n")


def test_the_same_arguments_give_the_same_bytes_whatever_the_order_of_versions() -> None:
    turned = dataclasses.replace(PROVENANCE, versions=dict(sorted(PROVENANCE.versions.items(), reverse=True)))

    assert encode_png(PIXELS, spec(), PROVENANCE) == encode_png(PIXELS, spec(), turned)


def test_an_initial_image_is_named_by_its_hash_and_not_carried() -> None:
    png = encode_png(PIXELS, spec(init_image=b"picture", strength=0.5), PROVENANCE)

    record = read_provenance(png)

    assert record.spec.init_image is None
    assert record.spec.strength == 0.5
    assert record.init_image_sha256 == hashlib.sha256(b"picture").hexdigest()
    assert "Denoising strength: 0.5" in text_chunk(png, PARAMETERS_KEY)


def plain_png(**text: str) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


@pytest.mark.parametrize(
    "png",
    [
        b"",
        b"not a picture",
        plain_png(),
        plain_png(farm="{"),
        plain_png(farm="[]"),
        plain_png(farm='{"spec": {}, "provenance": {}}'),
        plain_png(farm=json.dumps({"spec": {"prompt": 1}, "provenance": {"attention": "NONE"}})),
    ],
)
def test_what_is_no_png_of_a_farm_is_told_so(png: bytes) -> None:
    with pytest.raises(ArtifactError, match="not a PNG that a farm wrote"):
        read_provenance(png)


@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_and_never_crashes(data: Any) -> None:
    png = bytearray(encode_png(PIXELS, spec(), PROVENANCE))
    for _ in range(data.draw(st.integers(1, 4))):
        png[data.draw(st.integers(0, len(png) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(png)))

    try:
        record = read_provenance(bytes(png[:cut]))
    except ArtifactError:
        return
    assert record.provenance.model
