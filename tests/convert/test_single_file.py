"""Checkpoints in one file, with the names of weights that Stable Diffusion's first code gave them."""

import re
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

LAYERS = 1

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_HEAD = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE = (
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
    ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"),
    ("resnets", "block"),
)


def old_unet_name(name: str) -> str:
    """The name that a weight of a UNet of two levels had."""
    for new, old in _UNET_HEAD.items():
        if name.startswith(new + "."):
            name = old + name[len(new) :]
    block = LAYERS + 1
    if match := re.match(r"down_blocks\.(\d)\.(resnets|attentions)\.(\d)", name):
        level, kind, layer = int(match[1]), match[2], int(match[3])
        name = f"input_blocks.{block * level + layer + 1}.{int(kind == 'attentions')}" + name[match.end() :]
    elif match := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv", name):
        name = f"input_blocks.{block * (int(match[1]) + 1)}.0.op" + name[match.end() :]
    elif match := re.match(r"up_blocks\.(\d)\.(resnets|attentions)\.(\d)", name):
        level, kind, layer = int(match[1]), match[2], int(match[3])
        name = f"output_blocks.{block * level + layer}.{int(kind == 'attentions')}" + name[match.end() :]
    elif match := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv", name):
        name = f"output_blocks.{block * int(match[1]) + LAYERS}.1.conv" + name[match.end() :]
    for new, old in _RESNET.items():
        name = re.sub(rf"(blocks?\.[\d.]*){new}\.", rf"\g<1>{old}.", name)
    return f"model.diffusion_model.{name}"


def old_vae_name(name: str) -> str:
    """The name that a weight of an autoencoder of two levels had."""
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{1 - int(match[1])}", name)
    for new, old in _VAE:
        name = name.replace(new, old)
    return f"first_stage_model.{name}"


def old_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a diffusers folder under the names that they had."""
    checkpoint = load_folder(folder)
    text = checkpoint.text_encoder.state_dict()
    prefix = "" if next(iter(text)).startswith("text_model.") else "text_model."
    weights = {f"cond_stage_model.transformer.{prefix}{name}": weight for name, weight in text.items()}
    weights |= {old_unet_name(name): weight for name, weight in checkpoint.unet.state_dict().items()}
    for name, weight in checkpoint.vae.state_dict().items():
        is_attention = re.search(r"to_(q|k|v|out\.0)\.weight", name)
        weights[old_vae_name(name)] = weight[:, :, None, None] if is_attention else weight
    return {name: weight.contiguous() for name, weight in weights.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(ARCHITECTURES["SD 1.x"], tmp_path_factory.mktemp("checkpoint") / "folder")


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_single_file_holds_the_same_networks_as_its_folder(folder: Path, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"model.{ending}"
    weights = old_weights(folder)
    if ending == "ckpt":
        torch.save({"state_dict": weights, "global_step": 7}, file)
    else:
        save_file(weights, file)
    like = tmp_path / "like"
    copy_without_weights(folder, like)

    found, wanted = load_file(file, like), load_folder(folder)

    assert found.config == wanted.config
    for part in ("text_encoder", "unet", "vae"):
        networks: list[Any] = [getattr(found, part), getattr(wanted, part)]
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
    with pytest.raises(ConversionError, match="is no checkpoint by its name"):
        load_file(tmp_path / "model.gguf", None)


def test_a_file_of_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)}, file)

    with pytest.raises(ConversionError, match="cannot be read as a checkpoint like"):
        load_file(file, folder)
