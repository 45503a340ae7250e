"""`farm render --from`, against a real farm."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from farm import Client
from farm.diffusion.png import encode_png, read_provenance
from farm.domain import ComputeUnit
from tests.cli.conftest import Run
from tests.running_farm import RunningFarm

Forge = Callable[..., Path]


@pytest.fixture
def rendered(farm: RunningFarm, tmp_path: Path) -> Path:
    """An image of the farm."""
    with Client(farm.address) as client:
        job = client.submit(["x", "a red circle"], seed=77, steps=3, negative_prompt="blue")
        job.wait()
        job.download(tmp_path / "out")
    return tmp_path / "out" / "000001.png"


@pytest.fixture
def forged(rendered: Path) -> Forge:
    """Makes a file that says other things of itself, or shows other pixels, than the farm's."""

    def forge(*, shift: int = 0, **provenance: Any) -> Path:
        record = read_provenance(rendered.read_bytes())
        with Image.open(rendered) as image:
            pixels = np.asarray(image).copy()
        pixels[0, 0] ^= shift
        rendered.write_bytes(encode_png(pixels, record.spec, replace(record.provenance, **provenance)))
        return rendered

    return forge


def test_an_image_comes_out_the_same_again(run: Run, rendered: Path, tmp_path: Path) -> None:
    code, out, _ = run("render", "--from", rendered, "--out", tmp_path / "again.png")
    assert (code, out) == (0, "All pixels agree.\n")
    again = read_provenance((tmp_path / "again.png").read_bytes())
    assert again == read_provenance(rendered.read_bytes())
    assert (again.spec.prompt, again.spec.seed, again.spec.negative_prompt) == ("a red circle", 78, "blue")


def test_the_job_is_pinned_to_what_made_the_image(run: Run, farm: RunningFarm, rendered: Path) -> None:
    code, out, _ = run("render", "--from", rendered, "--json")
    told = json.loads(out)
    assert (code, told["agrees"], told["psnr"], told["differences"]) == (0, True, None, {})
    with Client(farm.address) as client:
        pin = client.job(told["job"]).message.spec.pin
    assert (pin.runtime, pin.model_digest) == ("null", read_provenance(rendered.read_bytes()).provenance.model_digest)


def test_pixels_that_differ_are_told_by_how_much(run: Run, forged: Forge) -> None:
    code, out, _ = run("render", "--from", forged(shift=1))
    assert code == 1
    # Three of 64 x 64 x 3 channels are off by one: 10 log10(255² · 64²).
    assert out == "The pixels differ: PSNR 84.3 dB, by 1 of 255 at most.\n"


@pytest.mark.parametrize(
    ("foreign", "pinned"),
    [
        ({"compute_unit": ComputeUnit.CPU_AND_NE}, ["model_digest", "attention", "runtime"]),
        ({"runtime": "coreml"}, ["model_digest", "attention"]),
        ({"model_digest": "sha256:0123"}, ["runtime", "compute_unit"]),
        ({"model_digest": "sha256:0123", "runtime": "coreml"}, []),
    ],
)
def test_what_the_farm_does_not_have_is_not_pinned_and_said_to_differ(
    run: Run, forged: Forge, foreign: dict[str, Any], pinned: list[str]
) -> None:
    file = forged(**foreign)
    before = len(json.loads(run("jobs", "--json")[1]))
    code, out, _ = run("render", "--from", file, "--json")
    told = json.loads(out)
    assert (code, told["agrees"], told["pinned"]) == (0, True, pinned)
    assert set(told["differences"]) == set(foreign)
    assert len(json.loads(run("jobs", "--json")[1])) == before + 1
    text = run("render", "--from", file)[1]
    assert all(f"not pinned to its {name}" in text and f"  {name}: " in text for name in foreign)


def test_an_image_whose_model_is_not_there_is_refused(run: Run, forged: Forge) -> None:
    code, _, err = run("render", "--from", forged(model="nothing"))
    assert code == 1
    assert "nothing" in err


@pytest.fixture
def drawn(farm: RunningFarm, rendered: Path, tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes an image of the farm that starts from a picture."""

    def draw(picture: bytes) -> Path:
        with Client(farm.address) as client:
            job = client.submit(["a ring"], seed=5, init_image=picture, strength=0.5)
            job.wait()
            job.download(tmp_path / "drawn")
        return tmp_path / "drawn" / "000000.png"

    return draw


def test_an_image_that_started_from_a_picture_is_made_again_with_that_picture(
    run: Run, drawn: Callable[[bytes], Path], tmp_path: Path
) -> None:
    sketch, other = tmp_path / "sketch.png", tmp_path / "other.png"
    Image.new("RGB", (80, 40), "red").save(sketch)
    Image.new("RGB", (80, 40), "blue").save(other)
    file = drawn(sketch.read_bytes())

    code, _, err = run("render", "--from", file)
    assert (code, "no image of this farm has it. Give the picture with --init-image" in err) == (1, True)
    code, _, err = run("render", "--from", file, "--init-image", other)
    assert (code, "is not the picture that" in err) == (1, True)
    code, out, _ = run("render", "--from", file, "--init-image", sketch, "--out", tmp_path / "again.png")
    assert (code, out) == (0, "All pixels agree.\n")
    assert read_provenance((tmp_path / "again.png").read_bytes()) == read_provenance(file.read_bytes())


def test_a_picture_that_the_farm_rendered_is_fetched_from_it(
    run: Run, rendered: Path, drawn: Callable[[bytes], Path]
) -> None:
    code, out, _ = run("render", "--from", drawn(rendered.read_bytes()))
    assert (code, out) == (0, "All pixels agree.\n")


def test_a_picture_for_an_image_that_started_from_none_is_refused(run: Run, rendered: Path) -> None:
    code, _, err = run("render", "--from", rendered, "--init-image", rendered)
    assert (code, "did not start from a picture" in err) == (2, True)


def test_a_file_that_no_farm_wrote_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(file)
    code, _, err = run("render", "--from", file)
    assert code == 1
    assert err.startswith(f"Error: {file} cannot be rendered again. These bytes are not a PNG that a farm wrote")


def test_a_place_that_cannot_take_the_new_image_is_named_and_is_no_bug(run: Run, forged: Forge, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("render", "--from", forged(), "--out", tmp_path / "file" / "again.png")
    assert code == 1
    assert f"Error: {tmp_path / 'file'} cannot be used (" in err
