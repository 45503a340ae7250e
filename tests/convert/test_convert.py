"""From a diffusers folder to packages that a catalogue finds and that compute what the checkpoint does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from farm.catalogue import Catalogue
from farm.catalogue.contents import package_files, read_contents
from farm.cli.convert import convert as convert_command
from farm.convert.check import relative_difference
from farm.convert.checkpoint import load_folder, read_defaults
from farm.convert.components import MASKED, components
from farm.convert.packages import save_package
from farm.domain import AttentionVariant, Model
from farm.errors import ConversionError
from farm.runtime.portable import load
from tests.convert.checkpoints import small_checkpoint, small_unet


def refusal(result: Result) -> str:
    """Why a checkpoint was not converted."""
    assert isinstance(result.exception, ConversionError)
    return result.exception.message


def convert(checkpoint: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(convert_command, [str(checkpoint), "--out", str(out / "tiny"), *options])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def root(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    result = convert(checkpoint, folder, "--steps", "4", "--guidance-scale", "1.5", "--description", "Random noise.")
    assert result.exit_code == 0, result.output
    assert result.output.count("differs from torch by") == 8
    return folder


@pytest.fixture(scope="module")
def model(root: Path) -> Model:
    return Catalogue([root], root / "digests.json").get("tiny")


def test_the_catalogue_reads_what_was_converted(model: Model) -> None:
    assert [variant.attention.value for variant in model.variants] == ["ORIGINAL", "SPLIT_EINSUM"]
    assert (model.defaults.width, model.defaults.height, model.defaults.steps) == (16, 16, 4)
    assert (model.defaults.guidance_scale, model.description) == (1.5, "Random noise.")
    for variant in model.variants:
        assert (variant.config.scaling_factor, variant.config.prediction_type) == (0.5, "v_prediction")
        assert variant.config.pad_token == "<|endoftext|>"


def test_packages_keep_apple_s_contract(model: Model) -> None:
    contract = {
        "text_encoder": ({"input_ids": ((1, 77), "float32")}, {"last_hidden_state", "pooled_outputs"}),
        "unet": (
            {
                "sample": ((2, 4, 8, 8), "float16"),
                "timestep": ((2,), "float16"),
                "encoder_hidden_states": ((2, 48, 1, 77), "float16"),
            },
            {"noise_pred"},
        ),
        "vae_decoder": ({"z": ((1, 4, 8, 8), "float16")}, {"image"}),
        "vae_encoder": ({"x": ((1, 3, 16, 16), "float16")}, {"latent"}),
    }
    for variant in model.variants:
        for component, (inputs, outputs) in contract.items():
            loaded = load(variant.components[component])
            assert {name: (spec.shape, spec.dtype) for name, spec in loaded.inputs.items()} == inputs
            assert {name: spec.dtype for name, spec in loaded.outputs.items()} == dict.fromkeys(outputs, "float32")


def test_only_split_attention_is_made_of_einsums(model: Model) -> None:
    for variant in model.variants:
        split = variant.attention is AttentionVariant.SPLIT_EINSUM
        (unet,) = read_contents(variant.components["unet"]).functions.values()
        assert bool(unet.einsums) is split


def test_the_same_weights_give_the_same_bytes(model: Model, checkpoint: Path, tmp_path: Path) -> None:
    first = model.variants[0].components["unet"]
    again = tmp_path / "unet.mlpackage"
    (unet,) = (part for part in components(load_folder(checkpoint), AttentionVariant.ORIGINAL) if part.name == "unet")
    save_package(unet, again)

    files = [file.relative_to(first) for file in package_files(first)]
    assert [file.name for file in files] == ["model.mlmodel", "weight.bin", "Manifest.json"]
    assert all((again / file).read_bytes() == (first / file).read_bytes() for file in files)


def test_each_token_sees_itself_and_those_before_it(model: Model, checkpoint: Path) -> None:
    text_encoder = load(model.variants[0].components["text_encoder"])
    tokens = torch.randint(0, 700, (1, 77), generator=torch.Generator().manual_seed(3)).float().numpy()
    before = text_encoder.predict({"input_ids": tokens})["last_hidden_state"]
    tokens[0, 40] = 5
    after = text_encoder.predict({"input_ids": tokens})["last_hidden_state"]

    assert relative_difference(after[0, :40], before[0, :40]) == 0
    assert relative_difference(after[0, 40], before[0, 40]) > 0.01
    assert MASKED > -65504, "float16 holds it"


def test_a_folder_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    result = convert(tmp_path, tmp_path / "out")

    assert "model_index.json is missing" in refusal(result)


def test_a_checkpoint_without_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    hollow = tmp_path / "hollow"
    shutil.copytree(checkpoint, hollow, ignore=shutil.ignore_patterns("diffusion_pytorch_model.safetensors"))
    result = convert(hollow, tmp_path / "out")

    assert "cannot be read as a part of a diffusers folder" in refusal(result)


@pytest.mark.parametrize("options", [{"in_channels": 9}, {"addition_embed_type": "text", "encoder_hid_dim": 48}])
def test_an_inpainting_or_conditioned_unet_is_refused(
    checkpoint: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other, ignore=shutil.ignore_patterns("unet"))
    small_unet(**options).save_pretrained(other / "unet")
    result = convert(other, tmp_path / "out")

    assert "only text-to-image models of Stable Diffusion 1.x, 2.x and XL" in refusal(result)


def test_a_checkpoint_without_its_tokenizer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(checkpoint, partial, ignore=shutil.ignore_patterns("vocab.json"))
    result = convert(partial, tmp_path / "out", "--attention", "original")

    assert "vocab.json is missing" in refusal(result)


def test_an_unknown_attention_is_answered_with_the_known_ones(checkpoint: Path, tmp_path: Path) -> None:
    result = convert(checkpoint, tmp_path, "--attention", "original,flash")

    assert result.exit_code == 2
    assert "flash is not one of original, split-einsum" in result.output


def test_a_model_of_another_kind_of_diffusion_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    flow = tmp_path / "flow"
    shutil.copytree(checkpoint, flow)
    (flow / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "flow_prediction"}')
    result = convert(flow, tmp_path / "out")

    assert "prediction_type = 'flow_prediction' is not one of epsilon" in refusal(result)
    assert "beta_start = None" in refusal(result)


@pytest.mark.parametrize(
    ("scheduler", "wanted"),
    [
        ({"_class_name": "LCMScheduler"}, (4, 8.5, "lcm")),
        ({"_class_name": "TCDScheduler"}, (4, 1.0, "tcd")),
        (
            {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"},
            (4, 1.0, "euler-ancestral"),
        ),
        ({"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}, (4, 1.0, "euler")),
        ({"_class_name": "PNDMScheduler"}, (20, 7.5, "dpmpp-2m")),
    ],
)
def test_a_scheduler_says_how_its_model_is_used(
    scheduler: dict[str, str], wanted: tuple[int, float, str], tmp_path: Path
) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))

    defaults = read_defaults(tmp_path)

    assert (defaults.steps, defaults.guidance_scale, defaults.sampler) == wanted


def test_a_name_that_the_catalogue_would_change_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(convert_command, [str(checkpoint), "--out", str(tmp_path / "My Model")])

    assert result.exit_code == 2
    assert "is not one word of small letters, digits and hyphens" in result.output


def test_a_conversion_that_fails_leaves_nothing_that_looks_like_a_model(
    model: Model, root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if "tiny" in str(path)}
    monkeypatch.setattr("farm.convert.check.TOLERANCE", 0.0)
    result = convert(checkpoint, root, "--attention", "original")

    assert "it would make other images" in refusal(result)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if "tiny" in str(path)} == before
    assert Catalogue([root], root / "digests.json").get("tiny") == model


def test_coremltools_is_left_as_it_was_found(model: Model) -> None:
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.mil import Block
    from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager

    functions: list[Any] = [ops._cast, PassPipelineManager.apply_pipeline, Block._propagate_nonreplaceable_vars]
    assert [function.__module__.split(".")[0] for function in functions] == ["coremltools"] * 3
