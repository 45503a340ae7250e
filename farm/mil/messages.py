"""Core ML's protobuf messages, without the rest of coremltools.

`import coremltools` imports its converters and, where it is installed, torch: 1.5 to 3.5 s, 300 MB and a page of
warnings about missing macOS libraries, for generated code that loads in 0.1 s. So this code, which coremltools ships as
a package of its own with relative imports only, is loaded under another name. Both copies may live in one process:
protobuf keeps one class for each message, whoever asks for it.
"""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_ALIAS = "farm_coreml_proto"


@functools.cache
def model_message() -> Any:
    """The class of `CoreML.Specification.Model`, what a `.mlmodel` file holds."""
    return _generated("Model_pb2").Model


@functools.cache
def data_type_name(number: int) -> str:
    """Name of a MIL data type, in MIL's own spelling: `fp16`, `int32`, `uint4`, `string`, ...

    Raises:
        ValueError: MIL has no such type.
    """
    name: str = _generated("MIL_pb2").DataType.Name(number).lower()
    return name.replace("bfloat", "bf").replace("float", "fp")


def _generated(module: str) -> ModuleType:
    if _ALIAS not in sys.modules:
        found = importlib.util.find_spec("coremltools")
        if found is None or found.origin is None:
            raise ModuleNotFoundError("coremltools is not installed; install the farm's dependencies again (make demo)")
        folder = Path(found.origin).parent / "proto"
        spec = importlib.util.spec_from_file_location(
            _ALIAS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[_ALIAS] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{_ALIAS}.{module}")
