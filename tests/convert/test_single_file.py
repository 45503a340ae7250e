"""Checkpoints in one file, with the names of weights that Stable Diffusion's first code gave them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.architectures import ARCHITECTURES
from benchmarks.small_models import make_checkpoint
from farm.convert.checkpoint import load_folder
from farm.convert.single_file import load_file
from farm.errors import ConversionError
from tests.convert.old_names import old_weights

pytestmark = pytest.mark.timeout(900)  # diffusers alone takes a minute to import on a machine that is busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(ARCHITECTURES["SD 1.x"], tmp_path_factory.mktemp("checkpoint") / "folder")


@pytest.mark.parametrize(
    ("architecture", "ending"),
    [
        ("SD 1.x", "safetensors"),
        ("SD 1.x", "ckpt"),
        ("SD 2.x, v prediction", "safetensors"),
        ("SDXL base", "safetensors"),
        ("SDXL refiner", "safetensors"),
    ],
)
def test_a_single_file_holds_the_same_networks_as_its_folder(architecture: str, ending: str, tmp_path: Path) -> None:
    wanted = load_folder(make_checkpoint(ARCHITECTURES[architecture], tmp_path / "folder"))
    file = tmp_path / f"model.{ending}"
    weights = old_weights(wanted)
    if ending == "ckpt":
        torch.save({"state_dict": weights, "global_step": 7}, file)
    else:
        save_file(weights, file)
    copy_without_weights(tmp_path / "folder", tmp_path / "like")

    found = load_file(file, tmp_path / "like")

    assert found.config == wanted.config
    for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
        networks: list[Any] = [getattr(found, part), getattr(wanted, part)]
        if networks[1] is None:
            assert networks[0] is None
            continue
        first, second = (network.state_dict() for network in networks)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in second), part


def copy_without_weights(folder: Path, like: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            place = like / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())


class Intruder:
    """What a pickle may hold instead of weights."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.touch, (self.witness,)


def test_code_in_a_ckpt_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    file, witness = tmp_path / "model.ckpt", tmp_path / "witness"
    torch.save({"state_dict": {"weight": torch.ones(1)}, "callback": Intruder(witness)}, file)

    with pytest.raises(ConversionError):
        load_file(file, folder)
    assert not witness.exists()


def test_a_file_alone_does_not_say_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)}, file)

    with pytest.raises(ConversionError, match="Say with --like"):
        load_file(file, None)
    with pytest.raises(ConversionError, match="is not named like a checkpoint"):
        load_file(tmp_path / "model.gguf", None)


def test_a_file_of_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)}, file)

    with pytest.raises(ConversionError, match="cannot be read as a checkpoint like"):
        load_file(file, folder)
