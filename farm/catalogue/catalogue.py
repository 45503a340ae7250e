"""The models on this machine's disk: the bundled ones first, then those in the user's models folder."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import farm
from farm.catalogue.contents import (
    Contents,
    decode_contents,
    encode_contents,
    package_files,
    read_contents,
    specification_file,
)
from farm.catalogue.families import family_of
from farm.catalogue.file_facts import FileFacts
from farm.catalogue.layout import TOKENIZER_FILES
from farm.catalogue.manifest import Manifest, read_manifest
from farm.catalogue.variants import VariantFolder, find_variants
from farm.domain import DiffusionConfig, ImageSpec, Model, ModelVariant
from farm.errors import ModelNotFoundError, PackageError
from farm.installation import cache_folder, data_folder

BUNDLED = Path(farm.__file__).parent / "assets" / "models"
"""Models that come with the farm, in a checkout and in an installed wheel alike."""


def user_models_folder() -> Path:
    """Where the user's own models lie: `FARM_MODELS`, or a folder of this machine's kind for application data."""
    configured = os.environ.get("FARM_MODELS")
    return Path(configured).expanduser() if configured else data_folder() / "models"


class Catalogue:
    """Reads model folders. Each call looks at the disk again; of unchanged files it remembers what it found.

    Args:
        roots: Folders whose sub-folders are models, the most important first; by default the bundled models and the
            user's.
        cache: File in which facts about files are remembered; by default in the user's cache folder.
    """

    def __init__(self, roots: Sequence[Path] | None = None, cache: Path | None = None) -> None:
        self._roots = tuple(roots) if roots is not None else (BUNDLED, user_models_folder())
        self._facts = FileFacts(cache or cache_folder() / "digests.json")

    def models(self) -> list[Model]:
        """All models that can be used, by name. Folders that are broken are left out; `problems` names them."""
        return sorted(self._scan()[0].values(), key=lambda model: model.name)

    def stamp(self) -> str:
        """Changes whenever a file in one of the folders does; costs a look at each file, and no reading."""
        whole = hashlib.sha256()
        for folder in self._folders({}):
            for place, subfolders, files in os.walk(folder):
                subfolders.sort()
                for file in sorted(files):
                    path = Path(place, file)
                    with suppress(OSError):  # it was just removed
                        facts = path.stat()
                        whole.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        return whole.hexdigest()

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
        raise ModelNotFoundError(
            f'There is no model "{name}"; there are: {", ".join(sorted(models)) or "none"}. `farm models --help` says '
            "how to add one.",
            model=name,
        )

    def _scan(self) -> tuple[dict[str, Model], dict[str, PackageError]]:
        models: dict[str, Model] = {}
        problems: dict[str, PackageError] = {}
        for folder in self._folders(problems):
            name = model_name(folder.name)
            if name in models:
                problems[name] = PackageError(
                    f"{folder} is ignored, since another model has the name {name!r} already; rename the folder"
                )
                continue
            try:
                models[name] = self.read(folder, name)
            except PackageError as problem:
                problems[name] = problem
        self._facts.save()
        return models, problems

    def _folders(self, problems: dict[str, PackageError]) -> Iterator[Path]:
        for root in self._roots:
            try:
                folders = sorted(root.iterdir()) if root.is_dir() else []
                yield from (folder for folder in folders if folder.is_dir() and not folder.name.startswith("."))
            except OSError as error:
                problems[str(root)] = PackageError(
                    f"{root} cannot be read ({error.strerror}), so its models cannot be used; correct its permissions"
                )

    def read(self, folder: Path, name: str = "") -> Model:
        """Reads one model folder, wherever it lies.

        Args:
            folder: The model's folder.
            name: What it is to be called; by default, what its folder's name comes to.

        Raises:
            PackageError: It is broken; says how.
        """
        name = name or model_name(folder.name)
        try:
            return self._read_model(folder, name)
        except OSError as error:
            raise PackageError(
                f"{folder} cannot be read ({error}), so its model cannot be used; correct its permissions"
            ) from error

    def _read_model(self, folder: Path, name: str) -> Model:
        found = find_variants(folder, read_manifest(folder).variants, self._contents)
        manifest = read_manifest(folder, family_of(found[0].unet.interface.inputs, found[0].width))
        variants = tuple(self._variant(variant, name, manifest) for variant in found)
        return Model(
            name=name,
            display_name=manifest.display_name or folder.name,
            description=manifest.description,
            variants=variants,
            defaults=_with_size(folder, variants, manifest.defaults),
        )

    def _variant(self, found: VariantFolder, name: str, manifest: Manifest) -> ModelVariant:
        components = {component: part.package for component, part in found.parts.items()}
        functions = {component: part.function for component, part in found.parts.items() if part.function}
        return ModelVariant(
            model=name,
            attention=found.attention,
            digest=self._digest(components, functions, found.tokenizer, manifest.config),
            width=found.width,
            height=found.height,
            precision=found.unet.precision,
            size_bytes=sum(
                file.stat().st_size for package in set(components.values()) for file in package_files(package)
            ),
            components=components,
            tokenizer=found.tokenizer,
            config=manifest.config,
            functions=functions,
        )

    def _contents(self, package: Path) -> Contents:
        """What a package holds, remembered as long as the file that says it is unchanged."""
        file = specification_file(package)
        if not file.is_file():
            raise PackageError(
                f"{package} lacks {file.name}, so it is not a complete compiled model; fetch it again",
                path=str(package),
            )
        remembered = self._facts.recall(file, "contents", lambda _: encode_contents(read_contents(package)))
        return decode_contents(remembered) or read_contents(package)

    def _digest(
        self, components: Mapping[str, Path], functions: Mapping[str, str], tokenizer: Path, config: DiffusionConfig
    ) -> str:
        """Covers all that decides pixels: packages, tokenizer, and the numbers that the packages do not hold.

        A package counts under its component's name, so that renaming a model's folder or files changes nothing. A
        number that is as usual counts as if it were not there, so that later versions may know of more of them.
        """
        usual = asdict(DiffusionConfig())
        unusual = {name: value for name, value in asdict(config).items() if value != usual[name]}
        whole = hashlib.sha256(json.dumps(unusual, sort_keys=True).encode())
        files = [(f"tokenizer/{file}", tokenizer / file) for file in TOKENIZER_FILES]
        for component, package in sorted(components.items()):
            if component == "safety_checker":
                continue  # it draws nothing
            files += [(f"{component}/{file.relative_to(package).as_posix()}", file) for file in package_files(package)]
        for label, file in files:
            whole.update(f"\n{label} {self._facts.digest(file)}".encode())
        for component, function in sorted(functions.items()):
            whole.update(f"\n{component} function {function}".encode())
        return f"sha256:{whole.hexdigest()}"


def model_name(text: str) -> str:
    """A folder's or repository's name as one word in kebab case."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _with_size(folder: Path, variants: Sequence[ModelVariant], defaults: ImageSpec) -> ImageSpec:
    """The defaults with a size: the one that the manifest says, or else that of the first form."""
    sizes = [(variant.width, variant.height) for variant in variants]
    width, height = defaults.width or sizes[0][0], defaults.height or sizes[0][1]
    if (width, height) not in sizes:
        made = ", ".join(f"{wide}x{high}" for wide, high in sizes)
        raise PackageError(
            f"{folder} says in its model.toml that it makes images of {width}x{height}, but its packages are for "
            f"{made}; correct width and height there, or leave them out"
        )
    return replace(defaults, width=width, height=height)
