"""The folder of the user's models: what is put into it, taken out of it, and whether it is still what it was.

A model is made ready aside, in a hidden folder of the same disk, is read there as the farm would read it, and only then
put in its place: no catalogue ever sees half a model, and what cannot be used is refused.
"""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from farm.catalogue.catalogue import BUNDLED, Catalogue, model_name, user_models_folder
from farm.catalogue.file_facts import sha256
from farm.catalogue.inventory import Inventory, files_of, read_inventory, write_inventory
from farm.domain import Model
from farm.errors import DiskFullError, InvalidRequestError, ModelNotFoundError, PackageError

OnBytes = Callable[[int], None]
"""Told how many bytes more are done."""


def _untold(_count: int) -> None:
    """Nobody wants to know."""


_FORM = re.compile(r"[-_](original|split[-_]einsum([-_]v2)?)[-_](compiled|packages)$", re.IGNORECASE)
"""What the names of published archives add to the model's: two archives of one repository are one model."""

_FORM_WORDS = re.compile(
    r"(?<![a-z0-9])(original|split[-_]einsum([-_]v2)?|compiled|packages|resources|models?|\d+x\d+|(\d+[-_]?)?bits?|"
    r"palettized|quantized|float\d+|fp\d+)(?![a-z0-9])",
    re.IGNORECASE,
)
"""What the name of a folder says of the form of a model; the rest of it names the model."""

_ROOM_LEFT = 1 << 30
"""Bytes that a model must leave free on the disk."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model's files are still what they were.

    Attributes:
        model: What the catalogue reads from its folder now.
        checked: Files that were compared with the inventory; 0 if there is none.
        problems: What is wrong, each in a sentence.
    """

    model: Model
    checked: int
    problems: tuple[str, ...]


class ModelStore:
    """The folder of the user's models.

    Args:
        root: The folder; by default the user's.
        bundled: The folder of the models that come with the farm, whose names are taken.
        catalogue: Reads models; by default one of both folders.
    """

    def __init__(self, root: Path | None = None, bundled: Path = BUNDLED, catalogue: Catalogue | None = None) -> None:
        self.root = root or user_models_folder()
        self._bundled = bundled
        self.catalogue = catalogue or Catalogue([bundled, self.root])

    def add(
        self, source: Path, name: str = "", *, link: bool = False, origin: str = "", on_bytes: OnBytes = _untold
    ) -> Model:
        """Puts a model in the store; another form of one that is there becomes a part of it.

        Args:
            source: A model's folder, or a zip archive of it.
            name: What it is to be called; by default what its file's name comes to.
            link: Whether to leave the folder where it is and only refer to it.
            origin: Where it came from, for the inventory; by default the path.
            on_bytes: Told the progress of copying.

        Raises:
            PackageError: There is no model in it that the farm can use, or it is there already. Nothing was changed.
            InvalidRequestError: The name is taken by a model that comes with the farm.
            DiskFullError: It would leave too little room.
        """
        if not source.exists():
            raise PackageError(f"There is nothing at {source}. Check the path.", path=str(source))
        name = model_name(name or _FORM.sub("", source.stem if source.is_file() else source.name))
        self.check_name(name)
        if link:
            self._check_single(source, str(source))
            return self._link(source, name)
        with self._aside() as aside:
            part = aside / model_name(source.stem if source.is_file() else source.name)
            if source.is_dir():
                _copy(source, part, on_bytes)
            else:
                _unzip(source, part, on_bytes)
            self._check_single(part, str(source))
            return self.put(part, name, origin or str(source.resolve()))

    def _check_single(self, folder: Path, source: str) -> None:
        """Refuses a folder of whole models whose names do not say that they are forms of one."""
        names: dict[str, str] = {}
        for each in sorted(folder.iterdir()) if folder.is_dir() else ():
            if each.is_dir() and (own := model_name(_FORM_WORDS.sub(" ", each.name))):
                with suppress(PackageError):
                    self.catalogue.read(each, own)
                    names.setdefault(own, each.name)
        if len(names) > 1:
            raise PackageError(
                f"{source} holds several models: {', '.join(names.values())}. Add each by its own path; those that are "
                "forms of one model, under one --name.",
                path=source,
            )

    def put(self, part: Path, name: str, source: str) -> Model:
        """Moves a folder of the same disk into the store; see `add`.

        Args:
            part: The folder; it is gone afterwards, if all is well.
            name: The model's name.
            source: Where it came from.

        Raises:
            PackageError: There is no model in it that the farm can use, or it is there already. Nothing was changed.
        """
        arrived = self.catalogue.read(part, name)
        folder, place = self.root / name, self.root / name
        if folder.is_symlink():
            raise PackageError(
                f"The model {name} is elsewhere and only linked here, so nothing is added to it; give another --name",
                model=name,
            )
        if folder.exists():
            present = self.catalogue.read(folder, name)
            if {variant.digest for variant in arrived.variants} <= {variant.digest for variant in present.variants}:
                raise PackageError(f"The model {name} already has everything that is in {source}", model=name)
            place = _free(folder / part.name)
        part.replace(place)
        try:
            model = self.catalogue.read(folder, name)
            self._record(folder, place, source)
        except (PackageError, OSError):
            place.replace(part)
            raise
        return model

    def check_name(self, name: str) -> None:
        """Refuses a name that no model of the user's may have.

        Raises:
            InvalidRequestError: It is empty, or taken by a model that comes with the farm.
        """
        if not name:
            raise InvalidRequestError("A model needs a name of letters and digits; give one with --name")
        if (self._bundled / name).is_dir():
            raise InvalidRequestError(f"The name {name} is taken by a model that comes with the farm; choose another")

    def remove(self, name: str) -> int:
        """Takes a model out of the store, and says how many bytes that freed; of a linked one only the link goes.

        Raises:
            ModelNotFoundError: There is none of that name.
            InvalidRequestError: It comes with the farm.
        """
        if (self._bundled / name).is_dir():
            raise InvalidRequestError(f"The model {name} comes with the farm and cannot be removed")
        folder = self._folder(name)
        if folder.is_symlink():
            folder.unlink()
            return 0
        freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        with self._aside() as aside:
            folder.replace(aside / name)
        return freed

    def verify(self, name: str, on_bytes: OnBytes = _untold) -> Verdict:
        """Reads every byte of a model again and compares it with what came.

        Raises:
            ModelNotFoundError: There is none of that name.
            PackageError: Its packages cannot be read, or do not make a model; says how.
        """
        folder = self._bundled / name if (self._bundled / name).is_dir() else self._folder(name)
        model = self.catalogue.read(folder, name)
        inventory = read_inventory(folder) or Inventory()
        problems = []
        for path, digest in inventory.files.items():
            file = folder / path
            if not file.is_file():
                problems.append(f"{path} is missing; remove the model and fetch it again")
                continue
            if sha256(file) != digest:
                problems.append(f"{path} is not what it was when it was added; remove the model and fetch it again")
            on_bytes(file.stat().st_size)
        problems += [
            f"{path} was not there when the model was added" for path in files_of(folder) if path not in inventory.files
        ]
        return Verdict(model, len(inventory.files), tuple(problems) if inventory.files else ())

    def inventory(self, name: str) -> Inventory:
        """Where a model came from; empty if it was put there by hand."""
        folder = self.root / name
        return (read_inventory(folder) if folder.is_dir() else None) or Inventory()

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        by_name = [each for each in self.root.iterdir() if model_name(each.name) == name] if self.root.is_dir() else []
        if folder.exists() or folder.is_symlink():
            return folder
        if by_name:  # put there by hand, under a name that the catalogue has tidied
            return by_name[0]
        raise ModelNotFoundError(
            f'There is no model "{name}" in {self.root}; `farm models list --local` shows what there is.', model=name
        )

    def _link(self, source: Path, name: str) -> Model:
        if not source.is_dir():
            raise InvalidRequestError(f"{source} is not a folder, so it cannot be linked; leave out --link")
        place = self.root / name
        if place.exists() or place.is_symlink():
            raise PackageError(f"There is a model {name} already; remove it first, or give another --name", model=name)
        self.catalogue.read(source, name)
        self.root.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source.resolve(), target_is_directory=True)
        return self.catalogue.read(place, name)

    def _record(self, folder: Path, place: Path, source: str) -> None:
        before = read_inventory(folder) or Inventory()
        new = {file: sha256(folder / file) for file in files_of(folder) if (folder / file).is_relative_to(place)}
        write_inventory(folder, Inventory((*before.sources, source), {**before.files, **new}))

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aside-", dir=self.root, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _copy(source: Path, target: Path, on_bytes: OnBytes) -> None:
    check_room(target.parent, sum(file.stat().st_size for file in source.rglob("*") if file.is_file()))

    def copy(here: str, there: str) -> None:
        shutil.copyfile(here, there)
        on_bytes(Path(there).stat().st_size)

    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns(".*", "__MACOSX"))


def _unzip(source: Path, target: Path, on_bytes: OnBytes) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [
                member
                for member in archive.infolist()
                if not any(part.startswith(".") or part == "__MACOSX" for part in Path(member.filename).parts)
            ]
            check_room(target.parent, sum(member.file_size for member in members))
            for member in members:
                archive.extract(member, target)  # leaves out what would lead elsewhere, and checks the checksum
                on_bytes(member.file_size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise PackageError(
            f"{source} is not a readable zip archive ({error}); fetch it again, or unpack it and add the folder",
            path=str(source),
        ) from error


def check_room(place: Path, needed: int) -> None:
    """Looks whether a disk has room for a model.

    Raises:
        DiskFullError: It would leave too little.
    """
    free = shutil.disk_usage(place).free
    if free < needed + _ROOM_LEFT:
        raise DiskFullError(
            f"The model needs {needed / 2**30:.1f} GB, and {place.parent} has {free / 2**30:.1f} GB free; make room, "
            "or point FARM_MODELS to another disk"
        )


def _free(place: Path) -> Path:
    """The path, or with the first number behind it that makes it one of nothing yet."""
    if not place.exists():
        return place
    return next(path for n in range(2, 1000) if not (path := place.with_name(f"{place.name}-{n}")).exists())
