"""A pytest plugin that makes coremltools' own operation tests predict with the portable runtime.

Off macOS those tests convert and stop before they predict. Here they are told that this is a Mac, and what they take
for Core ML is the portable runtime. Of each test it is written down, as one JSON object a line, how far it came.
"""

import contextlib
import functools
import json
import os
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.errors import FarmError, UnsupportedOperationsError
from farm.mil.program import Program, read_programs
from farm.mil.translate import translate
from farm.runtime.portable import PortableModel

PRECISION = "FARM_OPERATION_PRECISION"
"""Environment variable: "fp32" or "fp16", of which the tests are run."""

EVERY = "FARM_OPERATION_EVERY"
"""Environment variable: run every n-th test only."""

RESULTS = "FARM_OPERATION_RESULTS"
"""Environment variable: file to write the results to."""

RECURRENT = "test_recurrent.py"
"""Files of coremltools that test recurrent cells."""

_STRIDE = 61
"""Tests that run one after another lie so far apart."""

_current: dict[str, str] = {}
"""How far the test that runs now has come: "reached" is "comparison", "unsupported" or "other"."""


def pytest_configure(config: pytest.Config) -> None:
    """Has the tests believe in a Mac, before any of them is imported."""
    del config
    os.environ["PYMIL_TEST_TARGETS"] = "mlprogram"
    os.environ["INCLUDE_MIL_FP32_UNIT_TESTS"] = "1"
    import coremltools
    from coremltools.converters import _converters_entry
    from coremltools.converters.mil import testing_utils

    testing_utils._IS_MACOS = True
    coremltools.models.utils._is_macos = lambda: True
    coremltools.models.utils._macos_version = lambda: (15, 2)
    testing_utils.compare_backend = functools.partial(_compare, testing_utils.compare_backend)
    coremltools.models.MLModel.predict = _predict
    coremltools.models.MLModel.make_state = _make_state
    # Two thirds of the time of a small conversion are spent on collecting garbage, of which it makes little.
    _converters_entry.gc = types.SimpleNamespace(collect=lambda: 0)


def _compare(
    compare: Callable[..., Any],
    mlmodel: object,
    input_key_values: object,
    expected_outputs: Mapping[str, Any],
    **more: Any,
) -> Any:
    """Stands before coremltools' comparison; notes whether fp16 is expected and if all but its rounding agrees."""
    if any(getattr(array, "dtype", None) == np.float16 for array in expected_outputs.values()):
        _current["expects"] = "fp16"
    try:
        return compare(mlmodel, input_key_values, expected_outputs, **more)
    except AssertionError:
        if "expects" in _current:
            _current["rounds"] = "yes"
            with contextlib.suppress(AssertionError):
                compare(mlmodel, input_key_values, expected_outputs, **more)
                _current["rounded"] = "agrees"
        raise


def _predict(model: Any, data: Mapping[str, Any], state: object = None) -> dict[str, Any]:
    """Stands in for `MLModel.predict`."""
    del state
    if model.package_path is None:
        _current.update(reached="other", reason="it predicts with a model of the format before ML programs")
        raise RuntimeError(_current["reason"])
    try:
        (program,) = read_programs(Path(model.package_path), model.function_name or None)
        if _computes_in_half(program):
            _current["precision"] = "fp16"
        loaded = PortableModel(program.path, translate(program), threads=1)
        feeds = {name: np.asarray(value) for name, value in data.items()}
        outputs = loaded.predict({name: _shaped(array, loaded.inputs[name].shape) for name, array in feeds.items()})
    except UnsupportedOperationsError as error:
        _current.update(reached="unsupported", reason=error.metadata.get("problems", error.message))
        raise
    except FarmError as error:
        _current.update(reached="comparison", reason=error.message)
        raise
    _current.setdefault("reached", "comparison")
    if "rounds" in _current:
        return {name: array.astype(np.float16) for name, array in outputs.items()}
    return outputs


def _computes_in_half(program: Program) -> bool:
    """Whether a program computes anything in fp16, whatever precision the test is listed under."""
    return any(
        value.type.dtype == "fp16"
        for operation in program.functions[program.main].operations
        if not operation.type.startswith("const")
        for value in operation.outputs
    )


def _make_state(model: Any) -> object:
    """Stands in for `MLModel.make_state`; loading a model with a state says that it is not supported."""
    return _predict(model, {})


def _shaped(array: Any, shape: tuple[int, ...]) -> Any:
    """The tests feed scalars as vectors of one element, since Core ML has no others."""
    return array.reshape(shape) if array.shape == (1,) and shape == () else array


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of one precision, or those that have none, and of these every n-th.

    The tests of recurrent cells, two in five, are not run: no such cell is translated, and each test has one. The rest
    is spread, so that the tests which have run at any time are a sample of all.
    """
    of_precision = [item for item in items if _precision(item) in (os.environ[PRECISION], "")]
    wanted = [item for item in of_precision if item.path.name != RECURRENT][:: int(os.environ[EVERY])]
    kept = [item for start in range(_STRIDE) for item in wanted[start::_STRIDE]]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept
    if "PYTEST_XDIST_WORKER" not in os.environ or os.environ["PYTEST_XDIST_WORKER"] == "gw0":
        recurrent = sum(item.path.name == RECURRENT for item in of_precision)
        _write({"test": RECURRENT, "outcome": "not run", "count": recurrent, "wanted": len(wanted)})


def _precision(item: pytest.Item) -> str:
    """What a test is parametrised with: (target, precision), or an object that has both; empty for neither."""
    backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")  # type: ignore[attr-defined] # they have one
    return str(backend[1] if isinstance(backend, tuple) else getattr(backend, "precision", ""))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forgets the test before."""
    del item
    _current.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Notes on the test's report how far it came."""
    del call
    report = yield
    report.user_properties = [("listed", _precision(item)), *_current.items()]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Writes down how a test ended; with several processes, only the one that leads them does."""
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.outcome == "passed"):
        return
    notes = {key: str(value) for key, value in report.user_properties}
    reached = notes.get("reached")
    if report.outcome == "skipped":
        outcome = "skipped"
    elif reached in ("unsupported", "other"):
        outcome = reached
    elif reached == "comparison":
        outcome = report.outcome
    else:
        outcome = "no prediction" if report.outcome == "passed" else "broken"
    said = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
    _write(
        {
            "test": report.nodeid.split("ops/tests/")[-1],
            "listed": notes["listed"],
            "precision": notes.get("precision", notes["listed"]),
            "expects": notes.get("expects", notes.get("precision", notes["listed"])),
            "rounded": notes.get("rounded", ""),
            "outcome": outcome,
            "reason": notes.get("reason") or " ".join(said)[:1000],
        }
    )


def _write(line: Mapping[str, object]) -> None:
    with Path(os.environ[RESULTS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
