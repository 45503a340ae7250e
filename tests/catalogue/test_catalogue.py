"""The catalogue reads what is there, names what is broken, and never mixes up two models."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import farm
from farm.catalogue import Catalogue
from farm.domain import AttentionVariant, ImageSpec, Model
from farm.errors import ModelNotFoundError, PackageError
from tests.catalogue.folders import SHAPES, copy_of_shapes, package


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue([tmp_path / "models"], tmp_path / "cache" / "digests.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of_shapes(tmp_path / "models")


def digests(model: Model) -> dict[AttentionVariant, str]:
    return {variant.attention: variant.digest for variant in model.variants}


def test_the_bundled_model_is_found_without_any_configuration(tmp_path: Path) -> None:
    model = Catalogue(cache=tmp_path / "digests.json").get("shapes")

    assert [variant.attention for variant in model.variants] == [
        AttentionVariant.ORIGINAL,
        AttentionVariant.SPLIT_EINSUM,
    ]
    assert model.defaults == ImageSpec(width=64, height=64, steps=20, guidance_scale=2.0, sampler="dpmpp-2m")
    for variant in model.variants:
        assert set(variant.components) == {"text_encoder", "unet", "vae_decoder", "vae_encoder"}
        assert variant.digest.startswith("sha256:")
        assert len(variant.digest) == len("sha256:") + 64
        assert (variant.width, variant.height, variant.precision) == (64, 64, "float16")
        assert 8_000_000 < variant.size_bytes < 9_000_000
        assert variant.config.scaling_factor == pytest.approx(1.4886, abs=1e-4)


def test_a_copy_under_another_name_has_the_same_digests(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    folder.rename(folder.parent / "My Shapes (copy)")

    copied = catalogue.get("my-shapes-copy")
    assert digests(copied) == digests(Catalogue([SHAPES.parent], tmp_path / "digests.json").get("shapes"))


def test_an_unknown_name_is_answered_with_the_known_ones(catalogue: Catalogue, folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there are: shapes"):
        catalogue.get("shape")


def test_without_a_manifest_the_packages_tell_the_size_and_the_rest_is_stable_diffusion(
    catalogue: Catalogue, folder: Path
) -> None:
    (folder / "model.toml").unlink()

    model = catalogue.get("shapes")
    assert (model.defaults.width, model.defaults.height) == (64, 64)
    assert (model.defaults.guidance_scale, model.display_name) == (7.5, "shapes")
    assert model.variants[0].config.scaling_factor == 0.18215


def test_one_changed_byte_gives_that_variant_alone_a_new_digest(catalogue: Catalogue, folder: Path) -> None:
    before = digests(catalogue.get("shapes"))
    weights = package(folder, "unet") / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)

    after = digests(catalogue.get("shapes"))
    assert after[AttentionVariant.ORIGINAL] != before[AttentionVariant.ORIGINAL]
    assert after[AttentionVariant.SPLIT_EINSUM] == before[AttentionVariant.SPLIT_EINSUM]


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt"])
def test_another_tokenizer_gives_another_digest(catalogue: Catalogue, folder: Path, file: str) -> None:
    before = digests(catalogue.get("shapes"))
    with (folder / file).open("a") as tokenizer:
        tokenizer.write("\n")

    assert not set(digests(catalogue.get("shapes")).values()) & set(before.values())


def test_another_scaling_factor_gives_another_digest_but_another_description_does_not(
    catalogue: Catalogue, folder: Path
) -> None:
    before = digests(catalogue.get("shapes"))
    manifest = folder / "model.toml"
    text = manifest.read_text()

    manifest.write_text(text.replace('display_name = "Shapes"', 'display_name = "Forms"'))
    assert digests(catalogue.get("shapes")) == before
    manifest.write_text(text.replace("scaling_factor = 1.48", "scaling_factor = 1.49"))
    assert not set(digests(catalogue.get("shapes")).values()) & set(before.values())


def test_what_the_finder_leaves_behind_changes_no_digest(catalogue: Catalogue, folder: Path) -> None:
    before = digests(catalogue.get("shapes"))
    (package(folder, "unet") / ".DS_Store").write_bytes(b"window positions")

    assert digests(catalogue.get("shapes")) == before


@pytest.mark.parametrize("component", ["text_encoder", "unet", "vae_decoder"])
def test_a_missing_component_is_named(catalogue: Catalogue, folder: Path, component: str) -> None:
    shutil.rmtree(package(folder, component))

    assert catalogue.models() == []
    assert component in catalogue.problems()["shapes"].message
    with pytest.raises(PackageError, match=component):
        catalogue.get("shapes")


def test_a_model_without_an_encoder_is_still_a_model(catalogue: Catalogue, folder: Path) -> None:
    shutil.rmtree(package(folder, "vae_encoder"))

    variants = {variant.attention: variant for variant in catalogue.get("shapes").variants}
    assert "vae_encoder" not in variants[AttentionVariant.ORIGINAL].components


def test_a_broken_model_does_not_hide_the_others(catalogue: Catalogue, folder: Path) -> None:
    broken = copy_of_shapes(folder.parent, "broken")
    (broken / "vocab.json").unlink()

    assert [model.name for model in catalogue.models()] == ["shapes"]
    assert list(catalogue.problems()) == ["broken"]
    assert "vocab.json" in catalogue.problems()["broken"].message


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("Manifest.json", "Manifest.json does not name a model"),
        ("Data/com.apple.CoreML/model.mlmodel", "model.mlmodel"),
        ("Data/com.apple.CoreML/weights/weight.bin", "weights"),
    ],
)
def test_half_a_package_is_no_package(catalogue: Catalogue, folder: Path, path: str, complaint: str) -> None:
    lost = package(folder, "unet") / path
    lost.unlink()
    if path.endswith("weight.bin"):
        lost.parent.rmdir()

    with pytest.raises(PackageError, match=complaint):
        catalogue.get("shapes")


def test_a_package_whose_manifest_leads_out_of_it_is_refused(catalogue: Catalogue, folder: Path) -> None:
    manifest = package(folder, "unet") / "Manifest.json"
    manifest.write_text(manifest.read_text().replace("com.apple.CoreML/model.mlmodel", "../../secret"))

    with pytest.raises(PackageError, match="leads out of the package"):
        catalogue.get("shapes")


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [("original", "split_einsum", "no einsum"), ("split_einsum", "original", "holds einsums")],
)
def test_a_unet_in_the_folder_of_the_other_attention_is_caught(
    catalogue: Catalogue, folder: Path, source: str, target: str, complaint: str
) -> None:
    misplaced = package(folder, "unet", target)
    shutil.rmtree(misplaced)
    shutil.copytree(package(folder, "unet", source), misplaced)

    with pytest.raises(PackageError, match=complaint):
        catalogue.get("shapes")


def test_two_models_in_one_folder_are_refused(catalogue: Catalogue, folder: Path) -> None:
    unet = package(folder, "unet")
    shutil.copytree(unet, unet.with_name("Stable_Diffusion_version_other_unet.mlpackage"))

    with pytest.raises(PackageError, match="more than one unet"):
        catalogue.get("shapes")


def test_a_folder_in_no_known_layout_is_named(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "models" / "holiday photos").mkdir(parents=True)

    assert "no packages in a layout" in catalogue.problems()["holiday-photos"].message


def test_of_two_models_with_one_name_the_first_root_s_is_taken_and_the_other_named(tmp_path: Path) -> None:
    copy_of_shapes(tmp_path / "user")
    catalogue = Catalogue([SHAPES.parent, tmp_path / "user"], tmp_path / "digests.json")

    assert catalogue.get("shapes").variants[0].tokenizer == SHAPES
    assert str(tmp_path / "user") in catalogue.problems()["shapes"].message


def test_the_user_s_models_lie_where_the_environment_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(folder.parent / "mine")
    monkeypatch.setenv("FARM_MODELS", str(folder.parent))

    names = [model.name for model in Catalogue(cache=tmp_path / "digests.json").models()]
    assert names == ["mine", "shapes"]


def test_digests_are_remembered_so_that_large_files_are_read_once(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "digests.json"
    first = digests(Catalogue([folder.parent], cache).get("shapes"))
    weights = package(folder, "unet") / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    facts = weights.stat()
    weights.write_bytes(bytes(facts.st_size))
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert digests(Catalogue([folder.parent], cache).get("shapes")) == first, (
        "size and time are the same: not read again"
    )
    cache.unlink()
    assert digests(Catalogue([folder.parent], cache).get("shapes")) != first


@pytest.mark.parametrize("damage", [b"", b"not json", b'{"a": 1}', b"[1, 2]"])
def test_a_damaged_cache_is_begun_anew(folder: Path, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "digests.json"
    first = digests(Catalogue([folder.parent], cache).get("shapes"))
    cache.write_bytes(damage)

    assert digests(Catalogue([folder.parent], cache).get("shapes")) == first
    assert str(folder / "vocab.json") in cache.read_text()


def test_a_cache_that_cannot_be_written_costs_only_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert Catalogue([folder.parent], tmp_path / "file" / "digests.json").models()


def test_an_installed_wheel_brings_the_model_along(tmp_path: Path) -> None:
    checkout, source = Path(farm.__file__).parent.parent, tmp_path / "source"
    shutil.copytree(checkout / "farm", source / "farm", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "README.md").touch()
    for file in ("pyproject.toml", "LICENSE"):
        shutil.copy(checkout / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)

    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {file.relative_to(checkout).as_posix() for file in SHAPES.rglob("*") if file.is_file()} <= packed
    assert "farm/assets/prompts.jsonl" in packed, "the demo's batch"


def test_listing_needs_no_heavy_library() -> None:
    code = "import sys; from farm.catalogue import Catalogue; Catalogue().models(); print(*sys.modules)"
    started = time.perf_counter()
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - started < 20
    assert not {"coremltools", "numpy", "torch", "transformers"} & set(output.split())


def test_a_folder_of_models_that_cannot_be_read_is_a_problem_and_no_obstacle(tmp_path: Path) -> None:
    unreadable = tmp_path / ("x" * 300)
    catalogue = Catalogue([SHAPES.parent, unreadable], tmp_path / "digests.json")
    assert [model.name for model in catalogue.models()] == ["shapes"]
    assert "cannot be read (File name too long)" in catalogue.problems()[str(unreadable)].message
