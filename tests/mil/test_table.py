"""The table of translators against the definitions of the operations in coremltools."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from farm.mil.graph import Graph, Tensor
from farm.mil.table import OperationTable, merge
from farm.mil.translate import LEFT_OUT, OPERATIONS

INTERNAL = {"const", "_const_symbolic"}
"""What coremltools keeps among its operations and no package computes."""

VERSIONS: dict[str, list[Any]] = {
    name: list(versions.values()) for name, versions in SSAOpRegistry.core_ops.items() if name not in INTERNAL
}
"""Definitions of each operation, oldest first."""


def declared(version: Any) -> dict[str, Any]:
    """Parameters of an operation's definition, without those that stand for Python functions of its builder."""
    return {name: kind for name, kind in version.input_spec.input_types.items() if not name.startswith("_")}


def test_every_operation_of_coremltools_is_translated_or_left_out_with_a_reason() -> None:
    assert OPERATIONS.keys() | LEFT_OUT.keys() >= VERSIONS.keys()
    assert not OPERATIONS.keys() & LEFT_OUT.keys()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_translator_takes_the_parameters_that_some_version_of_the_operation_has(name: str) -> None:
    allowed = {parameter for version in VERSIONS[name] for parameter in declared(version)}
    assert {parameter.name for parameter in OPERATIONS[name].parameters} == allowed


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_translator_requires_what_every_version_of_the_operation_requires(name: str) -> None:
    specs = [declared(version) for version in VERSIONS[name]]
    always = {p for p in specs[0] if all(p in spec and not spec[p].optional for spec in specs)}
    assert {parameter.name for parameter in OPERATIONS[name].parameters if parameter.is_required} == always


def constant_defaults(version: Any) -> dict[str, Any]:
    """Defaults that do not depend on the operation's other inputs."""
    try:
        defaults = version.default_inputs(None)
    except AttributeError:  # it looks at its inputs
        return {}
    return {name: value for name, value in defaults.items() if not hasattr(value, "val")}


@pytest.mark.parametrize("name", [name for name in sorted(OPERATIONS) if constant_defaults(VERSIONS[name][-1])])
def test_a_translator_has_the_defaults_of_the_latest_version(name: str) -> None:
    signature = inspect.signature(OPERATIONS[name].translator)
    ours = {p.name: signature.parameters[p.keyword].default for p in OPERATIONS[name].parameters if not p.is_required}
    theirs = constant_defaults(VERSIONS[name][-1])
    assert {parameter: ours[parameter] for parameter in theirs} == theirs


def test_an_operation_cannot_be_registered_twice() -> None:
    def relu(g: Graph, x: Tensor) -> str:
        return g.node("Relu", x)

    table = OperationTable()
    table.operation(relu)
    with pytest.raises(ValueError, match="'relu' is registered twice"):
        table.operation(relu)
    with pytest.raises(ValueError, match="two families: relu"):
        merge([table, table])


def operations_table() -> str:
    """What docs/operations.md says of each operation of coremltools."""
    rows = [f"| `{name}` | {LEFT_OUT.get(name, 'yes')} |" for name in sorted(VERSIONS)]
    return "\n".join(["| operation | translated |", "|---|---|", *rows])


def test_the_page_on_operations_names_every_operation_of_coremltools() -> None:
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    assert operations_table() in page.read_text(encoding="utf-8")
