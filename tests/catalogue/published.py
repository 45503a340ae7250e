"""Model folders as they are published, file for file, with packages in them that are small and quick to make."""

import functools
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from farm.catalogue.contents import Interface, package_files, read_contents
from farm.domain import AttentionVariant
from tests.catalogue.folders import SHAPES
from tests.mil.cases import convert

WIDTH = 8
"""Channels of the small text encoders' hidden states."""

SPLIT = AttentionVariant.SPLIT_EINSUM
SPLIT_V2 = AttentionVariant.SPLIT_EINSUM_V2
ORIGINAL = AttentionVariant.ORIGINAL

SWIFT = {
    "text_encoder": "TextEncoder",
    "text_encoder_2": "TextEncoder2",
    "unet": "Unet",
    "unet_chunk1": "UnetChunk1",
    "unet_chunk2": "UnetChunk2",
    "refiner": "UnetRefiner",
    "vae_decoder": "VAEDecoder",
    "vae_encoder": "VAEEncoder",
    "safety_checker": "SafetyChecker",
}
"""Apple's names of the components, in Swift's resources."""


@functools.cache
def _store() -> TemporaryDirectory[str]:
    """Where the small packages lie as long as the tests run."""
    return TemporaryDirectory(prefix="farm-packages-")


def small_package(
    component: str, *, attention: AttentionVariant = ORIGINAL, side: int = 4, sdxl: bool = False, palettized: int = 0
) -> Path:
    """A package with a component's inputs and outputs. It is not to be changed: every test gets the same one.

    Args:
        component: Its name; `unet_pipeline` is a UNet whose halves are in one package.
        attention: How a UNet's attention is written.
        side: Height and width of the latents.
        sdxl: Whether a UNet takes what SDXL's takes.
        palettized: Bits of the palettes of its weights; 0 for none.
    """
    place = Path(_store().name) / f"{component}-{attention.value}-{side}-{sdxl}-{palettized}.mlpackage"
    if not place.exists():
        if component in ("unet_chunk1", "unet_chunk2", "unet_pipeline"):
            _bisect(attention, side, sdxl)
        else:
            _save(component, place, attention, side, sdxl, palettized)
    return place


def _bisect(attention: AttentionVariant, side: int, sdxl: bool) -> None:
    import coremltools as ct

    source = small_package("unet", attention=attention, side=side, sdxl=sdxl)
    with TemporaryDirectory() as folder:
        whole = ct.models.MLModel(str(source), skip_model_load=True)
        ct.models.utils.bisect_model(whole, folder, check_output_correctness=False)
        halves = [
            ct.models.MLModel(str(Path(folder) / f"chunk{half}.mlpackage"), skip_model_load=True) for half in (1, 2)
        ]
        made = {"unet_chunk1": halves[0], "unet_chunk2": halves[1], "unet_pipeline": ct.utils.make_pipeline(*halves)}
        for component, model in made.items():
            model.save(str(source.with_name(source.name.replace("unet", component))))


def _save(component: str, place: Path, attention: AttentionVariant, side: int, sdxl: bool, palettized: int) -> None:
    inputs, body = _BODIES[component](attention, side, sdxl)
    model = convert(body, inputs, opset="iOS16", fp16=True)
    if palettized:
        import coremltools.optimize.coreml as cto

        how = cto.OpPalettizerConfig(mode="uniform", nbits=palettized, weight_threshold=1)
        model = cto.palettize_weights(model, cto.OptimizationConfig(how))
    model.save(str(place))


Body = tuple[dict[str, Any], Callable[..., Any]]


def _weights(*shape: int) -> Any:
    return np.random.default_rng(shape[0]).standard_normal(shape).astype(np.float32)


def _text_encoder(width: int) -> Callable[..., Body]:
    def make(_attention: AttentionVariant, _side: int, sdxl: bool) -> Body:
        from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

        def body(input_ids: Any) -> Any:
            ids = mb.cast(x=input_ids, dtype="int32")
            vectors = mb.gather(x=_weights(1000, width), indices=ids, axis=0)
            pooled = mb.reduce_mean(x=vectors, axes=[1], name="pooled_outputs")
            return mb.relu(x=vectors, name="hidden_embeds" if sdxl else "last_hidden_state"), pooled

        return {"input_ids": np.zeros((1, 77), np.float32)}, body

    return make


def _unet(refines: bool = False) -> Callable[..., Body]:
    def make(attention: AttentionVariant, side: int, sdxl: bool) -> Body:
        width = WIDTH + (4 if sdxl and not refines else 0)
        inputs = {
            "sample": np.zeros((2, 4, side, side), np.float32),
            "timestep": np.zeros((2,), np.float32),
            "encoder_hidden_states": np.zeros((2, width, 1, 77), np.float32),
        }
        extra = {
            "time_ids": np.zeros((2, 5 if refines else 6), np.float32),
            "text_embeds": np.zeros((2, 8), np.float32),
        }
        return inputs | (extra if sdxl else {}), _UnetBody(attention, side, width)

    return make


class _UnetBody:
    """Convolutions around one attention to the prompt, with a connection that skips it, as UNets have."""

    def __init__(self, attention: AttentionVariant, side: int, width: int) -> None:
        self.attention, self.side, self.width = attention, side, width

    def __call__(self, sample: Any, timestep: Any, encoder_hidden_states: Any, *extra: Any) -> Any:
        from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

        pixels = self.side * self.side
        x = mb.conv(x=sample, weight=_weights(self.width, 4, 3, 3), pad_type="same")
        when = mb.expand_dims(x=mb.mul(x=timestep, y=np.float32(0.001)), axes=[1, 2, 3])
        for given in extra:
            when = mb.add(x=when, y=mb.expand_dims(x=mb.reduce_mean(x=given, axes=[1], keep_dims=True), axes=[2, 3]))
        x = mb.relu(x=mb.add(x=x, y=when))
        query = mb.reshape(x=x, shape=[2, self.width, 1, pixels])
        seen = mb.reshape(x=self._attend(query, encoder_hidden_states), shape=[2, self.width, self.side, self.side])
        x = mb.relu(x=mb.conv(x=mb.add(x=seen, y=x), weight=_weights(self.width + 1, self.width, 1, 1)))
        return mb.conv(x=x, weight=_weights(4, self.width + 1, 3, 3), pad_type="same", name="noise_pred")

    def _attend(self, query: Any, context: Any) -> Any:
        from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

        if self.attention is ORIGINAL:
            rows = mb.squeeze(x=mb.transpose(x=query, perm=[0, 3, 2, 1]), axes=[2])
            states = mb.squeeze(x=context, axes=[2])
            weights = mb.softmax(x=mb.matmul(x=rows, y=states), axis=-1)
            attended = mb.matmul(x=weights, y=states, transpose_y=True)
            return mb.expand_dims(x=mb.transpose(x=attended, perm=[0, 2, 1]), axes=[2])
        keys = mb.transpose(x=context, perm=[0, 3, 2, 1])
        product = "nchw,nwhu->nchu"  # how coremltools writes both of Apple's einsums
        scores = [mb.einsum(values=(keys, piece), equation=product) for piece in self._pieces(query)]
        pieces = [mb.einsum(values=(context, mb.softmax(x=score, axis=1)), equation=product) for score in scores]
        return mb.concat(values=pieces, axis=3) if len(pieces) > 1 else pieces[0]

    def _pieces(self, query: Any) -> list[Any]:
        from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

        length = self.side * self.side
        if self.attention is SPLIT or length <= 512:
            return [query]
        return [
            mb.slice_by_size(x=query, begin=[0, 0, 0, start], size=[2, self.width, 1, 512])
            for start in range(0, length, 512)
        ]


def _vae_decoder(_attention: AttentionVariant, side: int, _sdxl: bool) -> Body:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(z: Any) -> Any:
        large = mb.upsample_nearest_neighbor(x=z, scale_factor_height=8, scale_factor_width=8)
        return mb.conv(x=large, weight=_weights(3, 4, 1, 1), name="image")

    return {"z": np.zeros((1, 4, side, side), np.float32)}, body


def _vae_encoder(_attention: AttentionVariant, side: int, _sdxl: bool) -> Body:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(x: Any) -> Any:
        return mb.conv(x=x, weight=_weights(8, 3, 8, 8), strides=[8, 8], name="latent")

    return {"x": np.zeros((1, 3, 8 * side, 8 * side), np.float32)}, body


def _safety_checker(_attention: AttentionVariant, side: int, _sdxl: bool) -> Body:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(clip_input: Any, images: Any, adjustment: Any) -> Any:
        score = mb.add(x=mb.reduce_mean(x=clip_input, axes=[1, 2, 3]), y=adjustment, name="concept_scores")
        return mb.relu(x=images, name="filtered_images"), score

    inputs = {
        "clip_input": np.zeros((1, 3, 224, 224), np.float32),
        "images": np.zeros((1, 8 * side, 8 * side, 3), np.float32),
        "adjustment": np.zeros((1,), np.float32),
    }
    return inputs, body


def _controlnet(_attention: AttentionVariant, side: int, _sdxl: bool) -> Body:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(sample: Any, controlnet_cond: Any) -> Any:
        small = mb.conv(x=controlnet_cond, weight=_weights(4, 3, 8, 8), strides=[8, 8])
        return mb.add(x=sample, y=small, name="additional_residual_0")

    shape = (2, 3, 8 * side, 8 * side)
    return {"sample": np.zeros((2, 4, side, side), np.float32), "controlnet_cond": np.zeros(shape, np.float32)}, body


_BODIES: Mapping[str, Callable[..., Body]] = {
    "text_encoder": _text_encoder(WIDTH),
    "text_encoder_2": _text_encoder(4),
    "unet": _unet(),
    "refiner": _unet(refines=True),
    "vae_decoder": _vae_decoder,
    "vae_encoder": _vae_encoder,
    "safety_checker": _safety_checker,
    "controlnet": _controlnet,
}


def put_package(place: Path, component: str, **options: Any) -> Path:
    """Copies a small package to a place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(small_package(component, **options), place))


def put_compiled(place: Path, component: str, **options: Any) -> Path:
    """Writes what Core ML's compiler makes of a small package, as far as anything but Core ML reads it."""
    package = small_package(component, **options)
    contents = read_contents(package)
    interface = contents.functions["main"]
    for folder in ("analytics", "weights"):
        (place / folder).mkdir(parents=True)
    (place / "analytics" / "coremldata.bin").write_bytes(b"\x00")
    (place / "coremldata.bin").write_bytes(b"\x01" + component.encode())
    weights = b"".join(file.read_bytes() for file in package_files(package) if file.suffix == ".bin")
    (place / "weights" / "weight.bin").write_bytes(weights)
    (place / "metadata.json").write_text(json.dumps([metadata(interface, contents.precision)], indent=2))
    (place / "model.mil").write_text("program(1.0)\n{\n" + "".join(_mil_lines(interface)) + "}\n")
    return place


def metadata(interface: Interface, precision: str) -> dict[str, Any]:
    """What a compiled model's metadata.json says."""
    operations = {
        "Ios16.conv": 3,
        "Ios16.relu": 2,
        **({"Ios16.einsum": interface.einsums} if interface.einsums else {}),
    }
    bits = precision.removeprefix("palettized-")
    return {
        "metadataOutputVersion": "3.0",
        "storagePrecision": "Float16" if bits == precision else f"Mixed (Float16, Palettized ({bits} bits))",
        "inputSchema": [_schema(name, list(shape), "Float16") for name, shape in interface.inputs.items()],
        "outputSchema": [_schema(name, [], "Float32") for name in interface.outputs],
        "modelParameters": [],
        "specificationVersion": 7,
        "mlProgramOperationTypeHistogram": operations,
        "computePrecision": "Mixed (Float16, Int32)",
        "isUpdatable": "0",
        "modelType": {"name": "MLModelType_mlProgram"},
        "userDefinedMetadata": {},
        "method": "predict",
    }


def _schema(name: str, shape: Sequence[int], dtype: str) -> dict[str, str]:
    return {
        "hasShapeFlexibility": "0",
        "isOptional": "0",
        "dataType": dtype,
        "formattedType": f"MultiArray ({dtype})",
        "shortDescription": "",
        "shape": str(list(shape)),
        "name": name,
        "type": "MultiArray",
    }


def _mil_lines(interface: Interface) -> Iterable[str]:
    for number, length in enumerate(interface.queries):
        yield (
            f"        tensor<fp16, [2, 77, 1, {length}]> var_{number}_cast = einsum(equation = var_{number}_equation,"
            f' values = (a, b))[name = tensor<string, []>("op_{number}_cast")];\n'
        )


def put_tokenizer(folder: Path) -> None:
    """Puts the bundled model's vocabulary into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(SHAPES / name, folder / name)


def put_litter(folder: Path) -> None:
    """Puts what else lies in published folders into one: licences, the Finder's and git's own files."""
    (folder / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n")
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")


def zip_folder(folder: Path, archive: Path) -> Path:
    """Packs a folder as macOS' Finder does: with the folder itself, and with what it leaves beside each file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder.parent).as_posix()
            packed.write(file, name)
            if file.is_file():
                beside = f"{file.parent.relative_to(folder.parent).as_posix()}/._{file.name}"
                packed.writestr(f"__MACOSX/{beside}", b"\x00\x05\x16\x07")
    return archive
