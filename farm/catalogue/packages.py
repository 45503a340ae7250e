"""What the catalogue must know of an `.mlpackage`, as cheaply as it can be known."""

import json
import mmap
from pathlib import Path

from farm.errors import PackageError


def check_package(package: Path) -> None:
    """Looks whether a package is complete.

    Raises:
        PackageError: Its manifest is missing or broken, or names a file that is not there.
    """
    manifest = package / "Manifest.json"
    try:
        items = json.loads(manifest.read_text(encoding="utf-8"))["itemInfoEntries"].values()
        paths = [package / "Data" / item["path"] for item in items]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{package} has no readable Manifest.json ({error}), so it is no complete package; "
            "fetch or convert it again"
        ) from error
    missing = [str(path.relative_to(package)) for path in paths if not path.exists()]
    if missing or not program_file(package).is_file() or program_file(package).stat().st_size == 0:
        raise PackageError(
            f"{package} lacks {', '.join(missing) or 'its program'}, so it is no complete package; "
            "fetch or convert it again"
        )


def program_file(package: Path) -> Path:
    """The file of a package that holds its program, without the weights."""
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def package_files(package: Path) -> list[Path]:
    """All files of a package in a fixed order, but for hidden ones: the Finder leaves .DS_Store behind."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(package).parts))


def has_operation(package: Path, operation: str) -> bool:
    """Whether a package's program holds an operation of that type.

    The program is searched for the encoding of MIL's `Operation.type` (field 1 of its message), which needs no
    library and a few milliseconds where parsing a large program takes seconds.
    """
    needle = b"\x0a" + bytes([len(operation)]) + operation.encode()
    with program_file(package).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
        return program.find(needle) >= 0


def input_shape(package: Path, name: str) -> tuple[int, ...]:
    """Declared shape of an input. Slow the first time: coremltools is imported.

    Raises:
        PackageError: The program cannot be read or has no such input.
    """
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    try:
        spec = Model_pb2.Model.FromString(program_file(package).read_bytes())
    except (OSError, DecodeError) as error:
        raise PackageError(f"{package} cannot be read ({error}); fetch or convert it again") from error
    for declared in spec.description.input:
        if declared.name == name:
            return tuple(declared.type.multiArrayType.shape)
    raise PackageError(
        f"{package} has no input {name!r}, so it is not the component that its name says; fetch or convert it again"
    )
