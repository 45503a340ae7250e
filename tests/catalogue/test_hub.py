"""Models come from the hub form by form, go on where they were cut off, and come from the cache without a network."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.catalogue.hub import HubFile, Repository, choose, forms_in, pull
from farm.catalogue.inventory import read_inventory
from farm.catalogue.store import ModelStore
from farm.domain import AttentionVariant
from farm.errors import DiskFullError, FetchError
from tests.catalogue.folders import SHAPES
from tests.catalogue.hub_server import COMMIT, LARGE, Hub, running_hub

REPOSITORY = "studio/coreml-shapes"
UNET = "original/packages/Stable_Diffusion_version_shapes_unet.mlpackage"
WEIGHTS = f"{UNET}/Data/com.apple.CoreML/weights/weight.bin"
LARGEST = f"{UNET}/Data/com.apple.CoreML/weights/more.bin"
"""A file that is fetched in several pieces."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with the bundled model in it, as Apple publishes its models."""
    place = tmp_path / "hub" / REPOSITORY
    shutil.copytree(SHAPES, place)
    (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (place / LARGEST).write_bytes(bytes(25_000_000))
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that knows this hub alone."""
    mine = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "FARM_MODELS": str(tmp_path / "models")}
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return {**os.environ, **mine, **quiet, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def farm(machine: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "farm", *arguments]
    ended = subprocess.run(command, env=machine, capture_output=True, text=True, timeout=100, check=False)
    assert "Traceback" not in ended.stderr
    return ended


def test_a_pull_fetches_one_form_and_goes_on_where_it_was_cut_off(
    hub: Hub, machine: dict[str, str], tmp_path: Path
) -> None:
    hub.breaks_after = LARGEST
    broken = farm(machine, "models", "pull", REPOSITORY, "--variant", "original", "--name", "mine")
    assert broken.returncode == 1
    assert "run the same command again" in broken.stderr
    assert not (tmp_path / "models" / "mine").exists()

    hub.breaks_after = ""
    pulled = farm(machine, "models", "pull", REPOSITORY, "--variant", "original", "--name", "mine", "--json")

    assert pulled.returncode == 0, pulled.stderr
    (variant,) = json.loads(pulled.stdout)["model"]["variants"]
    assert (variant["attention"], variant["width"]) == ("ATTENTION_ORIGINAL", 64)
    assert hub.ranges[LARGEST][-1] >= 10_000_000, "what had come was not fetched again"
    assert hub.ranges[WEIGHTS] == [0]
    assert not [file for file in hub.sent if file.startswith("split_einsum")], "one form only"
    inventory = read_inventory(tmp_path / "models" / "mine")
    assert inventory is not None
    assert inventory.sources == (f"{REPOSITORY}@{COMMIT}:original/packages",)

    # A second form becomes a part of the same model.
    second = farm(machine, "models", "pull", REPOSITORY, "--variant", "split-einsum", "--name", "mine", "--json")
    assert {each["attention"] for each in json.loads(second.stdout)["model"]["variants"]} == {
        "ATTENTION_ORIGINAL",
        "ATTENTION_SPLIT_EINSUM",
    }


def test_a_file_that_arrives_damaged_is_thrown_away(hub: Hub, machine: dict[str, str], tmp_path: Path) -> None:
    hub.damages = WEIGHTS
    ended = farm(machine, "models", "pull", REPOSITORY, "--variant", "original")
    assert ended.returncode == 1
    assert "arrived damaged" in ended.stderr
    weights = (tmp_path / "models").rglob("weight.bin")
    assert not [file for file in weights if file.as_posix().endswith(WEIGHTS)]


def test_without_a_network_the_cache_answers_or_says_what_is_missing(
    hub: Hub, machine: dict[str, str], tmp_path: Path
) -> None:
    offline = {**machine, "HF_HUB_OFFLINE": "1"}
    empty = farm(offline, "models", "pull", REPOSITORY)
    assert empty.returncode == 1
    assert "not in this machine's cache" in empty.stderr

    fill = f"from huggingface_hub import snapshot_download; snapshot_download({REPOSITORY!r}, ignore_patterns='orig*')"
    subprocess.run([sys.executable, "-c", fill], env=machine, check=True, capture_output=True)
    hub.sent.clear()
    pulled = farm(offline, "models", "pull", REPOSITORY, "--variant", "split_einsum", "--json")

    assert pulled.returncode == 0, pulled.stderr
    assert hub.sent == {}
    assert json.loads(pulled.stdout)["model"]["name"] == "models/coreml-shapes"


def test_a_repository_that_is_not_there_is_named(machine: dict[str, str]) -> None:
    ended = farm(machine, "models", "pull", "nobody/nothing")
    assert ended.returncode == 1
    assert "has no repository nobody/nothing" in ended.stderr


def repository(*paths: str) -> Repository:
    return Repository("apple/sd", COMMIT, tuple(HubFile(path, LARGE) for path in paths))


def published(place: str, suffix: str, *components: str) -> list[str]:
    return [f"{place}/{name}{suffix}/{file}" for name in components for file in ("Manifest.json", "weights.bin")]


APPLE = repository(
    "README.md",
    *published("original/packages", ".mlpackage", "X_unet", "X_unet_chunk1", "X_text_encoder", "X_safety_checker"),
    *published("split_einsum/packages", ".mlpackage", "X_unet", "X_text_encoder"),
    *published("split_einsum/compiled", ".mlmodelc", "Unet", "TextEncoder"),
    *published("split_einsum/compiled", ".mlmodelc", "UnetChunk1", "UnetChunk2"),
    "split_einsum/compiled/vocab.json",
    "split_einsum/compiled/merges.txt",
    "sd_split_einsum_v2_compiled.zip",
)


def test_packages_come_before_compiled_models_and_archives() -> None:
    assert [(form.label, form.kind) for form in forms_in(APPLE)] == [
        ("original/packages", ".mlpackage"),
        ("split_einsum/packages", ".mlpackage"),
        ("split_einsum/compiled", ".mlmodelc"),
        ("sd_split_einsum_v2_compiled", ".zip"),
    ]


def test_what_no_pipeline_uses_is_not_fetched_and_the_nearest_tokenizer_is() -> None:
    original, split = forms_in(APPLE)[:2]
    assert {file.path.split("/")[2] for file in original.files if "packages" in file.path} == {
        "X_unet.mlpackage",
        "X_text_encoder.mlpackage",
    }
    for form in (original, split):
        assert {file.path for file in form.files if "compiled" in file.path} == {
            "split_einsum/compiled/vocab.json",
            "split_einsum/compiled/merges.txt",
        }


@pytest.mark.parametrize(
    ("wanted", "label"),
    [
        (None, "split_einsum/packages"),
        ("original", "original/packages"),
        ("split-einsum", "split_einsum/packages"),
        ("split_einsum/compiled", "split_einsum/compiled"),
        ("split_einsum_v2", "sd_split_einsum_v2_compiled"),
    ],
)
def test_a_form_is_chosen_by_attention_by_place_or_by_what_suits_the_machine(wanted: Any, label: str) -> None:
    preferred = (AttentionVariant.SPLIT_EINSUM, AttentionVariant.ORIGINAL)
    assert choose(APPLE, wanted, preferred).label == label


def test_a_form_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(FetchError, match=r"no variant 'split'. It has: original/packages \(.mlpackage, 0.0 GB\)"):
        choose(APPLE, "split", ())
    with pytest.raises(FetchError, match="holds no Core ML packages"):
        choose(repository("unet/diffusion_pytorch_model.safetensors"), None, ())


@pytest.mark.parametrize(
    "paths",
    [["/etc/Unet.mlmodelc/metadata.json"], ["Unet.mlmodelc/metadata.json", "../vocab.json", "../merges.txt"]],
    ids=lambda paths: paths[-1],
)
def test_a_repository_cannot_write_outside_of_its_folder(tmp_path: Path, paths: list[str]) -> None:
    evil = repository(*paths)
    with pytest.raises(FetchError, match="names files outside of itself"):
        pull(evil, choose(evil, None, ()), ModelStore(tmp_path / "models"))


def test_a_model_that_does_not_fit_on_the_disk_is_not_fetched(tmp_path: Path) -> None:
    huge = Repository("apple/sd", COMMIT, (HubFile("Unet.mlmodelc/metadata.json", 1 << 60),))
    with pytest.raises(DiskFullError, match="make room, or point FARM_MODELS to another disk"):
        pull(huge, choose(huge, None, ()), ModelStore(tmp_path / "models"))
