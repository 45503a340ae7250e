"""The models on this machine's disk: the bundled ones first, then those in the user's models folder."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import platformdirs

import farm
from farm.catalogue.digests import FileDigests
from farm.catalogue.layout import TOKENIZER_FILES, VariantFolder, find_variants
from farm.catalogue.manifest import Manifest, read_manifest
from farm.catalogue.packages import check_package, has_operation, input_shape, package_files
from farm.domain import AttentionVariant, Model, ModelVariant
from farm.errors import ModelNotFoundError, PackageError

BUNDLED = Path(farm.__file__).parent / "assets" / "models"
"""Models that come with the farm, in a checkout and in an installed wheel alike."""

APPLICATION = "mac-render-farm"

LATENT_CELL = 8
"""Pixels along the side of one latent, in all of Stable Diffusion's autoencoders."""


def user_models_folder() -> Path:
    """Where the user's own models lie: `FARM_MODELS`, or a folder of this machine's kind for application data."""
    configured = os.environ.get("FARM_MODELS")
    return Path(configured).expanduser() if configured else platformdirs.user_data_path(APPLICATION) / "models"


class Catalogue:
    """Reads model folders. Each call looks at the disk again; only the digests of unchanged files are remembered.

    Args:
        roots: Folders whose sub-folders are models, the most important first; by default the bundled models and the
            user's.
        cache: File in which digests are remembered; by default in the user's cache folder.
    """

    def __init__(self, roots: Sequence[Path] | None = None, cache: Path | None = None) -> None:
        self._roots = tuple(roots) if roots is not None else (BUNDLED, user_models_folder())
        self._digests = FileDigests(cache or platformdirs.user_cache_path(APPLICATION) / "digests.json")

    def models(self) -> list[Model]:
        """All models that can be used, by name. Folders that are broken are left out; `problems` names them."""
        return sorted(self._scan()[0].values(), key=lambda model: model.name)

    def problems(self) -> dict[str, PackageError]:
        """What is wrong with the folders that `models` leaves out, by the model's name."""
        return self._scan()[1]

    def get(self, name: str) -> Model:
        """Gets a model.

        Raises:
            ModelNotFoundError: There is none of that name; says which there are.
            PackageError: Its folder is broken; says how.
        """
        models, problems = self._scan()
        if name in models:
            return models[name]
        if name in problems:
            raise problems[name]
        roots = " or ".join(str(root) for root in self._roots)
        raise ModelNotFoundError(
            f"there is no model {name!r} in {roots}; there are: {', '.join(sorted(models)) or 'none'}", model=name
        )

    def variant(self, digest: str) -> ModelVariant:
        """Gets the form of a model that has a digest.

        Raises:
            ModelNotFoundError: No model here has it.
        """
        for model in self.models():
            for variant in model.variants:
                if variant.digest == digest:
                    return variant
        raise ModelNotFoundError(
            f"no model on this machine has the digest {digest}, so what was asked for cannot be rendered here; "
            "copy the model's folder from a machine that has it",
            digest=digest,
        )

    def _scan(self) -> tuple[dict[str, Model], dict[str, PackageError]]:
        models: dict[str, Model] = {}
        problems: dict[str, PackageError] = {}
        for folder in self._folders(problems):
            name = _model_name(folder)
            if name in models:
                problems[name] = PackageError(
                    f"{folder} is passed over, since another model is called {name!r} already; rename the folder"
                )
                continue
            try:
                models[name] = self._read_model(folder, name)
            except PackageError as problem:
                problems[name] = problem
        self._digests.save()
        return models, problems

    def _folders(self, problems: dict[str, PackageError]) -> Iterator[Path]:
        for root in self._roots:
            try:
                folders = sorted(root.iterdir()) if root.is_dir() else []
                yield from (folder for folder in folders if folder.is_dir() and not folder.name.startswith("."))
            except OSError as error:
                problems[str(root)] = PackageError(
                    f"{root} cannot be read ({error.strerror}), so the models in it cannot be used; mend its rights"
                )

    def _read_model(self, folder: Path, name: str) -> Model:
        manifest = read_manifest(folder)
        try:
            variants = tuple(self._read_variant(variant, name, manifest) for variant in find_variants(folder))
        except OSError as error:
            raise PackageError(
                f"{folder} cannot be read ({error}), so its model cannot be used; mend its rights"
            ) from error
        first = variants[0]
        return Model(
            name=name,
            display_name=manifest.display_name or folder.name,
            description=manifest.description,
            variants=variants,
            defaults=replace(manifest.defaults, width=first.width, height=first.height),
        )

    def _read_variant(self, found: VariantFolder, name: str, manifest: Manifest) -> ModelVariant:
        for package in found.components.values():
            check_package(package)
        _check_attention(found)
        width, height = _size(found, manifest)
        return ModelVariant(
            model=name,
            attention=found.attention,
            digest=self._digest(found, manifest),
            width=width,
            height=height,
            precision=manifest.precision,
            size_bytes=sum(
                file.stat().st_size for package in found.components.values() for file in package_files(package)
            ),
            components=found.components,
            tokenizer=found.tokenizer,
            config=manifest.config,
        )

    def _digest(self, found: VariantFolder, manifest: Manifest) -> str:
        """Covers all that decides pixels: packages, tokenizer, and the numbers that the packages do not hold.

        A package counts under its component's name, so that renaming a model's folder or files changes nothing.
        """
        whole = hashlib.sha256(json.dumps(asdict(manifest.config), sort_keys=True).encode())
        files = [(f"tokenizer/{file}", found.tokenizer / file) for file in TOKENIZER_FILES]
        for component, package in sorted(found.components.items()):
            files += [(f"{component}/{file.relative_to(package).as_posix()}", file) for file in package_files(package)]
        for label, file in files:
            whole.update(f"\n{label} {self._digests.of(file)}".encode())
        return f"sha256:{whole.hexdigest()}"


def _model_name(folder: Path) -> str:
    """The folder's name as one word in kebab case."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")


def _check_attention(found: VariantFolder) -> None:
    """Compares what the folder's name promises with what the UNet holds: only split attention is made of einsums."""
    split = found.attention is not AttentionVariant.ORIGINAL
    if has_operation(found.components["unet"], "einsum") != split:
        holds = "no einsum" if split else "einsums"
        raise PackageError(
            f"{found.components['unet']} lies in a folder for {found.attention.value} attention, but holds {holds}: "
            "it would be placed on the wrong chips; move it to the folder of its own kind"
        )


def _size(found: VariantFolder, manifest: Manifest) -> tuple[int, int]:
    """Width and height in pixels: what the manifest says, or else what the UNet's latents come to."""
    if manifest.defaults.width is not None and manifest.defaults.height is not None:
        return manifest.defaults.width, manifest.defaults.height
    shape = input_shape(found.components["unet"], "sample")
    if len(shape) != 4:
        raise PackageError(
            f"{found.components['unet']} declares latents of shape {shape} where (batch, channels, height, width) is "
            "meant; convert it with a fixed size"
        )
    return shape[3] * LATENT_CELL, shape[2] * LATENT_CELL
