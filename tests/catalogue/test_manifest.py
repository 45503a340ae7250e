"""Manifests come back as they were written, and faults in them are named all at once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.catalogue.manifest import Manifest, VariantManifest, read_manifest, write_manifest
from farm.domain import AttentionVariant, DiffusionConfig, ImageSpec
from farm.errors import PackageError

texts = st.text(st.characters(exclude_categories=["Cs"]))
words = st.text("aZ0_ é'", min_size=1)
positive = st.floats(min_value=1e-6, max_value=1e6)
manifests = st.builds(
    Manifest,
    display_name=texts,
    description=texts,
    defaults=st.builds(
        ImageSpec,
        negative_prompt=st.none() | texts,
        width=st.none() | st.integers(8, 4096),
        height=st.none() | st.integers(8, 4096),
        steps=st.integers(1, 200),
        guidance_scale=positive,
        sampler=texts,
    ),
    config=st.builds(
        DiffusionConfig,
        scaling_factor=positive,
        prediction_type=st.sampled_from(["epsilon", "v_prediction", "sample"]),
        beta_start=positive,
        beta_end=positive,
        beta_schedule=st.sampled_from(["linear", "scaled_linear"]),
        noise=st.sampled_from(["numpy", "torch", "nvidia"]),
        train_steps=st.integers(1, 10_000),
        steps_offset=st.integers(0, 1),
        pad_token=texts,
    ),
    variants=st.lists(
        st.builds(
            VariantManifest,
            components=st.dictionaries(words, words, min_size=1),
            attention=st.none() | st.sampled_from(AttentionVariant),
            tokenizer=st.none() | words,
        ),
        max_size=2,
    ).map(tuple),
)


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest)
        assert read_manifest(Path(folder)) == manifest


def test_what_a_manifest_leaves_out_falls_to_stable_diffusion(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("[defaults]\nsteps = 4\n")

    assert read_manifest(tmp_path) == Manifest(
        defaults=ImageSpec(steps=4, guidance_scale=7.5, sampler="dpmpp-2m"), config=DiffusionConfig()
    )


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("steps = 20", ["steps is not a key"]),
        ("[defaults]\nstep = 20", ["defaults.step is not a key", "steps"]),
        ('[defaults]\nsteps = "20"\nwidth = 1.5', ["defaults.steps = '20'", "defaults.width = 1.5"]),
        ("[defaults]\nguidance_scale = true", ["guidance_scale = True is of the wrong type"]),
        ('[config]\nprediction_type = "eps"', ["prediction_type = 'eps' is not one of epsilon, v_prediction"]),
        ("[config]\nsingle_step_at = 1000", ["config.single_step_at = 1000 is not a step of training"]),
        ("variants = [3]", ["variants[0] is not a table"]),
        ('[[variants]]\nattention = "SPLIT"', ["variants[0].attention = 'SPLIT' is not one of ORIGINAL"]),
        ("[[variants]]\n", ["variants[0].components is missing"]),
        ('[[variants]]\ncomponents = {unet = "/etc/x"}', ["'/etc/x' is not a path inside the model's folder"]),
        ('[[variants]]\ncomponents = {unet = "a/../../x"}', ["is not a path inside the model's folder"]),
        ('[[variants]]\ntokenizer = ".."\ncomponents = {unet = "x"}', ["variants[0].tokenizer = '..' is not a path"]),
        ('[[variants]]\ncomponents = {unet = "x"}\nfunctions = {vae = "f"}', ["functions.vae is not the name"]),
        ("defaults = 3", ["defaults = 3 is of the wrong type"]),
        ("[defaults\n", ["cannot be read"]),
    ],
)
def test_each_fault_of_a_manifest_is_named(tmp_path: Path, text: str, complaints: list[str]) -> None:
    (tmp_path / "model.toml").write_text(text)

    with pytest.raises(PackageError) as caught:
        read_manifest(tmp_path)
    assert all(complaint in caught.value.message for complaint in complaints)


def test_bytes_that_are_no_text_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(PackageError, match="cannot be read"):
        read_manifest(tmp_path)
