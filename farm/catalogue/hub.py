"""Fetches models from the Hugging Face hub, form by form: a repository often holds four times what one Mac needs.

Files come one after the other and go on where they were cut off, also in another process. Without a network
(`HF_HUB_OFFLINE=1`) they come from the cache that all of Hugging Face's tools share, if the repository is in it.
"""

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from farm.catalogue.catalogue import model_name
from farm.catalogue.file_facts import sha256
from farm.catalogue.layout import SUFFIXES, TOKENIZER_FILES, promised_attention, read_path
from farm.catalogue.store import ModelStore, OnBytes, check_room
from farm.domain import AttentionVariant, Model
from farm.errors import FetchError, InvalidRequestError

_SPARED = ("safety_checker", "unet_chunk1", "unet_chunk2", "refiner_chunk1", "refiner_chunk2")
"""Components that are not fetched: no pipeline of the farm uses the first, nor halves beside a whole."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository.

    Attributes:
        path: Its path in the repository.
        size: Its size in bytes.
        sha256: Its content's digest, where the hub knows it (which it does of all large files).
    """

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit.

    Attributes:
        name: "owner/name".
        commit: The commit.
        files: What is in it.
        cached: Folder that holds it already; None if it is to be downloaded.
    """

    name: str
    commit: str
    files: tuple[HubFile, ...]
    cached: Path | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a model in a repository.

    Attributes:
        label: What it can be asked for by: its folder, or its archive's name.
        attention: The attention that its path promises.
        kind: ".mlpackage", ".mlmodelc" or ".zip".
        files: What is to be fetched for it.
    """

    label: str
    attention: AttentionVariant | None
    kind: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


def look_up(name: str, revision: str | None = None) -> Repository:
    """Asks the hub what a repository holds, or the cache, if the hub is not to be asked.

    Raises:
        FetchError: There is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants

    with _told(name):
        if constants.HF_HUB_OFFLINE:
            return _cached(name, revision)
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
        found = tuple(
            HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None)
            for each in info.siblings or ()
        )
        return Repository(name, info.sha or "main", found)


def _cached(name: str, revision: str | None) -> Repository:
    """What the cache of Hugging Face's tools holds of a repository; the commit that it got last, if none is said."""
    from huggingface_hub import errors, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except errors.CacheNotFound:
        repositories = frozenset()
    revisions = [each for found in repositories if found.repo_id == name for each in found.revisions]
    wanted = [each for each in revisions if revision in (None, each.commit_hash, *each.refs)]
    if not wanted:
        raise FetchError(
            f"{name} is not in this machine's cache of the hub, and HF_HUB_OFFLINE keeps the farm from asking the hub. "
            "Unset it, or bring the model's folder here by other means and use farm models add.",
            repository=name,
        )
    latest = max(wanted, key=lambda each: each.last_modified)
    folder = Path(latest.snapshot_path)
    files = (HubFile(file.file_path.relative_to(folder).as_posix(), file.size_on_disk) for file in latest.files)
    return Repository(name, latest.commit_hash, tuple(sorted(files, key=lambda file: file.path)), folder)


def forms_in(repository: Repository) -> list[Form]:
    """The forms of a model that a repository holds, packages before compiled models and those before archives."""
    groups: dict[tuple[str, str], dict[str, list[HubFile]]] = {}
    for file in repository.files:
        package = _package_of(file.path)
        if package is not None and not _is_hidden(file.path):
            named = read_path(package)
            group = groups.setdefault((named.place, Path(package).suffix), {})
            group.setdefault(named.component or package, []).append(file)
    forms = [
        Form(place or ".", promised_attention(place), kind, _wanted(place, by_component, repository.files))
        for (place, kind), by_component in groups.items()
        if {"unet", "unet_chunk1"} & by_component.keys() or not any(map(_is_component, by_component))
    ]
    forms += [
        Form(Path(file.path).stem, promised_attention(Path(file.path).stem), ".zip", (file,))
        for file in repository.files
        if file.path.endswith(".zip") and "/" not in file.path
    ]
    order = (*SUFFIXES, ".zip")
    return sorted(forms, key=lambda form: (order.index(form.kind), form.label))


def choose(repository: Repository, wanted: str | None, preferred: Sequence[AttentionVariant]) -> Form:
    """The form to fetch.

    Args:
        repository: Where it is to come from.
        wanted: A form's label, or an attention ("split_einsum"); None leaves it to the machine.
        preferred: The attentions that suit the machine, the best first.

    Raises:
        FetchError: There is no such form, or none at all; says which there are.
    """
    forms = forms_in(repository)
    if not forms:
        raise FetchError(
            f"The repository {repository.name} holds no Core ML packages, so it cannot be rendered with. Fetch a "
            "conversion of it, or convert its checkpoint with farm convert.",
            repository=repository.name,
        )
    if wanted is None:
        return min(forms, key=lambda form: _rank(form, preferred))
    word = wanted.lower().replace("-", "_")
    matching = [
        form for form in forms if wanted == form.label or word == (form.attention and form.attention.value.lower())
    ]
    if not matching:
        known = "; ".join(f"{form.label} ({form.kind}, {form.size / 1e9:.1f} GB)" for form in forms)
        raise FetchError(
            f"The repository {repository.name} has no variant {wanted!r}. It has: {known}.", repository=repository.name
        )
    return matching[0]


def _rank(form: Form, preferred: Sequence[AttentionVariant]) -> int:
    """How well a form suits; one whose path does not tell its attention is the repository's only one."""
    if form.attention is None:
        return 0
    return preferred.index(form.attention) if form.attention in preferred else len(preferred)


def pull(
    repository: Repository, form: Form, store: ModelStore, name: str = "", *, on_bytes: OnBytes = lambda _: None
) -> Model:
    """Fetches a form of a model and puts it in the store. What was fetched before a break is kept for the next time.

    Args:
        repository: Where it comes from.
        form: What to fetch.
        store: Where it goes.
        name: What the model is to be called; by default the repository's name.
        on_bytes: Told the progress.

    Raises:
        FetchError: The hub cannot be reached, or sent something else than it announced.
        DiskFullError: It would leave too little room.
        PackageError: What came is no model that the farm can use, or is there already.
    """
    name = model_name(name or repository.name.rpartition("/")[2])
    store.check_name(name)
    source = f"{repository.name}@{repository.commit}:{form.label}"
    if source in store.inventory(name).sources:
        return store.catalogue.get(name)
    partial = store.root / ".pulling" / name / model_name(f"{form.label} {form.kind} {repository.commit[:8]}")
    partial.mkdir(parents=True, exist_ok=True)
    _check_paths(repository, form)
    check_room(partial, form.size - sum(file.stat().st_size for file in partial.rglob("*") if file.is_file()))
    for file in form.files:
        with _told(repository.name):
            _fetch(repository, file, partial, on_bytes)
    archive = partial / form.files[0].path if form.kind == ".zip" else None
    model = store.add(archive, name, origin=source) if archive else store.put(partial, name, source)
    shutil.rmtree(partial, ignore_errors=True)
    return model


def _check_paths(repository: Repository, form: Form) -> None:
    """Refuses what would be written elsewhere than into the model's folder; no honest hub has such paths."""
    paths = [PurePosixPath(file.path) for file in form.files]
    stray = [path.as_posix() for path in paths if path.is_absolute() or ".." in path.parts]
    if stray:
        raise FetchError(
            f"The repository {repository.name} names files outside of itself ({', '.join(stray)}). Do not "
            "trust it; nothing was fetched.",
            repository=repository.name,
        )


def _fetch(repository: Repository, file: HubFile, folder: Path, on_bytes: OnBytes) -> None:
    target = folder / file.path
    if repository.cached is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository.cached / file.path, target)
        on_bytes(file.size)
        return
    if target.is_file():
        on_bytes(file.size)
    else:
        _download(repository, file, target, on_bytes)
    if file.sha256 is not None and sha256(target) != file.sha256:
        target.unlink()
        raise FetchError(
            f"{file.path} of {repository.name} arrived damaged: its contents are not what the hub says they are. It "
            "was deleted; run the same command again.",
            repository=repository.name,
        )


def _download(repository: Repository, file: HubFile, target: Path, on_bytes: OnBytes) -> None:
    """Fetches a file. huggingface_hub's own call begins anew in each process, which is too much for gigabytes."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository.name, file.path, revision=repository.commit)
    location = get_hf_file_metadata(url).location
    # The hub's token is for the hub alone, not for the store that it points to.
    headers = build_hf_headers() if urlsplit(location).netloc == urlsplit(url).netloc else {}
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as content:
        done = content.tell()
        on_bytes(done)
        bar = _reporting(on_bytes)
        http_get(location, content, resume_size=done, headers=headers, expected_size=file.size, tqdm_class=bar)
    part.replace(target)


def _reporting(on_bytes: OnBytes) -> Any:
    """The class of a progress bar that draws nothing and tells how far it is."""
    from tqdm import tqdm

    class Reporting(tqdm):  # type: ignore[misc] # it brings no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)  # huggingface_hub's own
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0))
            return None

    return Reporting


def _wanted(place: str, by_component: Mapping[str, list[HubFile]], files: Sequence[HubFile]) -> tuple[HubFile, ...]:
    """The files of a form: its packages, the nearest tokenizer, and what the publisher says of the model."""
    spared = {name for name in _SPARED if "chunk" not in name or name.partition("_chunk")[0] in by_component}
    packages = [file for component, found in by_component.items() if component not in spared for file in found]
    tokenizers: dict[str, list[HubFile]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name in TOKENIZER_FILES:
            tokenizers.setdefault(folder, []).append(file)
    whole = sorted(folder for folder, found in tokenizers.items() if len(found) == len(TOKENIZER_FILES))
    nearest = max(whole, key=lambda folder: _shared(folder, place), default=None)
    manifest = [file for file in files if file.path == "model.toml"]
    return (*packages, *(tokenizers[nearest] if nearest is not None else ()), *manifest)


def _shared(folder: str, place: str) -> int:
    """How many folders two paths have in common from their beginning."""
    pairs = zip(folder.split("/"), place.split("/"), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _package_of(path: str) -> str | None:
    parts = path.split("/")
    ends = [n for n, part in enumerate(parts[:-1], 1) if part.endswith(SUFFIXES)]
    return "/".join(parts[: ends[0]]) if ends else None


def _is_component(name: str) -> bool:
    return not name.endswith(SUFFIXES)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tells in the farm's words what goes wrong on the way to the hub."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FetchError(
            f"The hub has no repository {name} that you may see. Check its name; for a private or gated one, accept "
            "its licence on its page and log in with `hf auth login`.",
            repository=name,
        ) from error
    except errors.HFValidationError as error:
        raise InvalidRequestError(f"{name!r} is not the name of a repository, which is owner/name") from error
    except (errors.HTTPError, OSError) as error:
        raise FetchError(
            f"The hub did not send what was asked of {name} ({error}). What arrived is kept; run the same command "
            "again to continue where it stopped.",
            repository=name,
        ) from error
