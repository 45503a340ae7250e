"""Every layout that models are published in is recognised, by what the packages say."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.catalogue import Catalogue
from farm.catalogue.layout import LAYOUTS, read_path
from farm.domain import Model, ModelVariant
from farm.errors import PackageError
from farm.mil.compiled import parse_shape, read_compiled
from tests.catalogue.published import (
    ORIGINAL,
    SPLIT,
    SPLIT_V2,
    SWIFT,
    put_compiled,
    put_litter,
    put_package,
    put_tokenizer,
)

PIPELINE = ("text_encoder", "unet", "vae_decoder", "vae_encoder")


def read(folder: Path) -> Model:
    return Catalogue([folder.parent], folder.parent.parent / "facts.json").get(folder.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "published"
    made.mkdir(parents=True)
    put_litter(made)
    return made


def forms(model: Model) -> list[tuple[object, int, str]]:
    return [(variant.attention, variant.width, variant.precision) for variant in model.variants]


def names(variant: ModelVariant) -> dict[str, str]:
    return {component: path.name for component, path in variant.components.items()}


def apples_first_repository(folder: Path) -> None:
    """apple/coreml-stable-diffusion-v1-5: both attentions, each as packages and compiled; chunks beside the whole."""
    prefix = "Stable_Diffusion_version_runwayml_stable-diffusion-v1-5_"
    for attention in (ORIGINAL, SPLIT):
        place = folder / attention.value.lower()
        for component in (*PIPELINE, "safety_checker", "unet_chunk1", "unet_chunk2"):
            form = attention if component == "unet" else SPLIT
            put_package(place / "packages" / f"{prefix}{component}.mlpackage", component, attention=form)
            put_compiled(place / "compiled" / f"{SWIFT[component]}.mlmodelc", component, attention=form)
        put_tokenizer(place / "compiled")


def test_apple_s_repositories_are_one_model_with_a_form_for_each_attention(folder: Path) -> None:
    apples_first_repository(folder)

    model = read(folder)

    assert forms(model) == [(ORIGINAL, 32, "float16"), (SPLIT, 32, "float16")]
    for variant in model.variants:
        assert set(variant.components) == {*PIPELINE, "safety_checker"}, "the whole UNet is enough"
        assert not variant.is_compiled, "packages run everywhere"
        assert variant.tokenizer.parts[-2:] == (variant.attention.value.lower(), "compiled")


def test_the_palettized_repositories_keep_compiled_forms_of_split_einsum_v2(folder: Path) -> None:
    for attention in (ORIGINAL, SPLIT_V2):
        place = folder / attention.value.lower() / "compiled"
        for component in ("text_encoder", "unet", "vae_decoder"):
            bits = 6 if component == "unet" else 0
            put_compiled(
                place / f"{SWIFT[component]}.mlmodelc", component, attention=attention, side=32, palettized=bits
            )
        put_tokenizer(place)

    model = read(folder)

    assert forms(model) == [(ORIGINAL, 256, "palettized-6"), (SPLIT_V2, 256, "palettized-6")]
    assert all(variant.is_compiled for variant in model.variants)


def test_stable_diffusion_2_comes_without_a_safety_checker_and_in_two_halves(folder: Path) -> None:
    place = folder / "split_einsum" / "compiled"
    for component in ("text_encoder", "unet_chunk1", "unet_chunk2", "vae_decoder"):
        put_compiled(place / f"{SWIFT[component]}.mlmodelc", component, attention=SPLIT)
    put_tokenizer(place)

    (variant,) = read(folder).variants

    assert variant.attention is SPLIT
    assert set(variant.components) == {"text_encoder", "unet_chunk1", "unet_chunk2", "vae_decoder"}
    assert variant.parts_of("unet") == ("unet_chunk1", "unet_chunk2")


def test_mochi_s_folders_are_flat_and_say_their_attention_nowhere_but_in_the_packages(folder: Path) -> None:
    for component in PIPELINE:
        put_compiled(folder / f"{SWIFT[component]}.mlmodelc", component, attention=SPLIT_V2, side=32)
    (folder / "controlnet").mkdir()
    put_compiled(folder / "controlnet" / "LllyasvielSdControlnetMlsd.mlmodelc", "controlnet", side=32)
    put_tokenizer(folder)

    (variant,) = read(folder).variants

    assert (variant.attention, variant.width) == (SPLIT_V2, 256)
    assert set(variant.components) == set(PIPELINE)


@pytest.mark.parametrize("put", [put_package, put_compiled], ids=["packages", "compiled"])
def test_a_folder_for_each_component_as_diffusers_has_them(folder: Path, put: Callable[..., Path]) -> None:
    suffix = "mlpackage" if put is put_package else "mlmodelc"
    for component in PIPELINE:
        put(folder / component / f"coreml_model.{suffix}", component, attention=SPLIT)
    put_tokenizer(folder / "tokenizer")

    (variant,) = read(folder).variants

    assert variant.attention is SPLIT
    assert set(variant.components) == set(PIPELINE)
    assert variant.tokenizer == folder / "tokenizer"


def test_names_behind_a_prefix_are_read(folder: Path) -> None:
    for component in ("unet_chunk1", "unet_chunk2"):
        put_compiled(folder / f"HyperSD{SWIFT[component]}.mlmodelc", component, attention=SPLIT)
    for component in ("text_encoder", "vae_decoder"):
        put_compiled(folder / f"{SWIFT[component]}.mlmodelc", component)
    put_tokenizer(folder)

    assert names(read(folder).variants[0])["unet_chunk1"] == "HyperSDUnetChunk1.mlmodelc"


def test_sdxl_is_known_by_its_inputs_and_its_encoders_by_their_names(folder: Path) -> None:
    place = folder / "original" / "compiled"
    for component in ("text_encoder", "text_encoder_2", "unet", "refiner", "vae_decoder"):
        put_compiled(place / f"{SWIFT[component]}.mlmodelc", component, sdxl=True)
    put_tokenizer(place)

    (variant,) = read(folder).variants

    assert variant.config.scaling_factor == 0.13025
    assert set(variant.components) == {"text_encoder", "text_encoder_2", "unet", "refiner", "vae_decoder"}


def test_packages_of_any_name_are_told_apart_by_what_they_take_and_give(folder: Path) -> None:
    for name, component in (("words", "text_encoder"), ("denoiser", "unet"), ("picture", "vae_decoder")):
        put_package(folder / "export" / f"{name}.mlpackage", component)
    put_tokenizer(folder)

    assert names(read(folder).variants[0]) == {
        "text_encoder": "words.mlpackage",
        "unet": "denoiser.mlpackage",
        "vae_decoder": "picture.mlpackage",
    }


def test_a_manifest_lists_the_forms_of_a_folder_in_no_layout(folder: Path) -> None:
    for number, component in enumerate(("text_encoder", "unet", "vae_decoder", "unet")):
        put_package(folder / f"{number}.mlpackage", component)
    put_tokenizer(folder / "bpe")
    (folder / "model.toml").write_text(
        'display_name = "Oddly kept"\n[defaults]\nsteps = 3\n[[variants]]\ntokenizer = "bpe"\n'
        'components = {text_encoder = "0.mlpackage", unet = "3.mlpackage", vae_decoder = "2.mlpackage"}\n'
    )

    model = read(folder)

    assert names(model.variants[0])["unet"] == "3.mlpackage"
    assert (model.display_name, model.defaults.steps, model.defaults.width) == ("Oddly kept", 3, 32)


def test_forms_of_several_sizes_and_precisions_are_one_model(folder: Path) -> None:
    for place, side, bits in (("small", 4, 0), ("large", 8, 0), ("large-6-bit", 8, 6)):
        for component in ("text_encoder", "unet", "vae_decoder"):
            put_package(folder / place / f"{component}.mlpackage", component, side=side, palettized=bits)
    put_tokenizer(folder)

    model = read(folder)

    assert set(forms(model)) == {(ORIGINAL, 32, "float16"), (ORIGINAL, 64, "float16"), (ORIGINAL, 64, "palettized-6")}
    assert len({variant.digest for variant in model.variants}) == 3


def test_models_of_different_kinds_in_one_folder_are_refused(folder: Path) -> None:
    for place, sdxl in (("first", False), ("second", True)):
        for component in ("text_encoder", "unet", "vae_decoder"):
            put_package(folder / place / f"{component}.mlpackage", component, side=8 if sdxl else 4, sdxl=sdxl)
    put_package(folder / "second" / "text_encoder_2.mlpackage", "text_encoder_2", sdxl=True)
    put_tokenizer(folder)

    with pytest.raises(PackageError, match=r"different kinds .*first.* and .*second"):
        read(folder)


def test_functions_of_several_sizes_in_one_package_are_forms_of_one_model(folder: Path, tmp_path: Path) -> None:
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    put_package(folder / "text_encoder.mlpackage", "text_encoder")
    put_tokenizer(folder)
    for component in ("unet", "vae_decoder"):
        functions = MultiFunctionDescriptor()
        for side in (4, 8):
            made = put_package(tmp_path / f"{component}-{side}.mlpackage", component, side=side)
            functions.add_function(str(made), src_function_name="main", target_function_name=f"at_{8 * side}")
        functions.default_function_name = "at_64"
        save_multifunction(functions, str(folder / f"{component}.mlpackage"))

    large, small = read(folder).variants

    assert (large.width, large.functions) == (64, {})
    assert (small.width, small.functions) == (32, {"unet": "at_32", "vae_decoder": "at_32"})
    assert large.digest != small.digest


def test_all_components_may_be_functions_of_one_package(folder: Path, tmp_path: Path) -> None:
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    put_tokenizer(folder)
    functions = MultiFunctionDescriptor()
    for component in ("text_encoder", "unet", "vae_decoder"):
        made = put_package(tmp_path / f"{component}.mlpackage", component)
        functions.add_function(str(made), src_function_name="main", target_function_name=f"run_{component}")
    functions.default_function_name = "run_unet"
    save_multifunction(functions, str(folder / "everything.mlpackage"))

    (variant,) = read(folder).variants

    assert set(variant.components.values()) == {folder / "everything.mlpackage"}
    assert variant.functions == {"text_encoder": "run_text_encoder", "vae_decoder": "run_vae_decoder"}


def test_a_pipeline_package_of_both_halves_is_a_unet(folder: Path) -> None:
    put_package(folder / "chunked_pipeline.mlpackage", "unet_pipeline", attention=SPLIT)
    for component in ("text_encoder", "vae_decoder"):
        put_package(folder / f"{component}.mlpackage", component)
    put_tokenizer(folder)

    (variant,) = read(folder).variants

    assert (variant.attention, names(variant)["unet"]) == (SPLIT, "chunked_pipeline.mlpackage")


@pytest.fixture
def flat(folder: Path) -> Path:
    """A complete model to be damaged."""
    for component in PIPELINE:
        put_compiled(folder / f"{SWIFT[component]}.mlmodelc", component)
    put_tokenizer(folder)
    return folder


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("Unet.mlmodelc/metadata.json", "Unet.mlmodelc lacks metadata.json"),
        ("Unet.mlmodelc/coremldata.bin", "Unet.mlmodelc lacks coremldata.bin"),
        ("merges.txt", "lacks vocab.json and merges.txt"),
    ],
)
def test_a_file_that_is_missing_is_named(flat: Path, file: str, complaint: str) -> None:
    (flat / file).unlink()

    with pytest.raises(PackageError, match=complaint):
        read(flat)


@pytest.mark.parametrize("component", ["text_encoder", "unet", "vae_decoder"])
def test_a_component_that_is_missing_is_named(flat: Path, component: str) -> None:
    shutil.rmtree(flat / f"{SWIFT[component]}.mlmodelc")

    with pytest.raises(PackageError, match=f"has no package for {component}"):
        read(flat)


def test_a_package_that_is_not_what_its_name_says_is_refused(flat: Path) -> None:
    shutil.rmtree(flat / "Unet.mlmodelc")
    put_compiled(flat / "Unet.mlmodelc", "vae_decoder")

    with pytest.raises(PackageError, match="named as a unet, but takes the inputs z, which are those of a vae_decoder"):
        read(flat)


def test_parts_of_different_sizes_are_refused_with_both(flat: Path) -> None:
    shutil.rmtree(flat / "VAEDecoder.mlmodelc")
    put_compiled(flat / "VAEDecoder.mlmodelc", "vae_decoder", side=8)

    with pytest.raises(PackageError, match=r"latents of \(4, 4\), its vae_decoder takes \(8, 8\)"):
        read(flat)


def test_a_manifest_that_names_no_size_of_the_packages_is_refused(flat: Path) -> None:
    (flat / "model.toml").write_text("[defaults]\nwidth = 512\nheight = 512\n")

    with pytest.raises(PackageError, match=r"images of 512x512, but its packages are for 32x32"):
        read(flat)


@pytest.mark.parametrize(
    "shape", ["__import__('os').system('touch hacked')", "[1, 2", "[1; 2]", "[-1, 2]", "(1, 2)", "[" * 10_000]
)
def test_shapes_are_parsed_and_never_evaluated(flat: Path, shape: str) -> None:
    file = flat / "Unet.mlmodelc" / "metadata.json"
    (content,) = json.loads(file.read_text())
    content["inputSchema"][0]["shape"] = shape
    file.write_text(json.dumps([content]))

    with pytest.raises(PackageError, match="is not a shape"):
        read(flat)
    assert not Path("hacked").exists()


@given(st.lists(st.integers(0, 999_999_999), max_size=6))
def test_a_shape_is_read_as_it_was_written(sizes: list[int]) -> None:
    assert parse_shape(str(sizes)) == tuple(sizes)


@given(st.text(max_size=30))
def test_any_other_text_is_a_shape_or_refused(text: str) -> None:
    try:
        shape = parse_shape(text)
    except ValueError:
        return
    assert all(size >= 0 for size in shape)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputSchema", "outputSchema", "name", "shape", "type", "dataType"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_metadata_is_read_or_refused(content: object) -> None:
    with tempfile.TemporaryDirectory(suffix=".mlmodelc") as place:
        (Path(place) / "metadata.json").write_text(json.dumps([content]))
        with suppress(PackageError):
            read_compiled(Path(place))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.example)
def test_each_layout_s_example_is_read_by_it(layout: object) -> None:
    from farm.catalogue.layout import Layout

    assert isinstance(layout, Layout)
    named = read_path(layout.example)
    assert named.layout is layout
    assert (named.component is None) == (not layout.components)


def test_a_model_is_found_in_no_time_the_second_time(folder: Path) -> None:
    apples_first_repository(folder)
    cache = folder.parent.parent / "facts.json"
    first = Catalogue([folder.parent], cache).get("published")
    assert str(folder / "original" / "compiled" / "Unet.mlmodelc" / "metadata.json") in cache.read_text()

    assert Catalogue([folder.parent], cache).get("published") == first
    cache.write_text(cache.read_text().replace("einsums", "verses"))
    assert Catalogue([folder.parent], cache).get("published") == first, "what another version kept is looked up anew"


def test_the_page_about_models_shows_every_layout() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for layout in LAYOUTS:
        assert f"| {layout.name} | `{layout.example}` |" in page
