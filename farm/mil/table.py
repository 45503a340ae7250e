"""How translators of operations are registered."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from farm.mil.graph import Tensor, Translator


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation, as its translator's signature tells.

    Attributes:
        name: Its name in MIL.
        keyword: Its name in the translator's signature.
        is_tensor: Whether the graph may compute it; else its value must be known when the model is translated.
        is_variadic: Whether it takes several values.
        is_required: Whether it has no default.
    """

    name: str
    keyword: str
    is_tensor: bool
    is_variadic: bool
    is_required: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A translator and the parameters that it takes."""

    translator: Translator
    parameters: tuple[Parameter, ...]


class OperationTable:
    """Translators by operation.

    A translator's signature is its operation's specification: first the graph, then, by MIL's names, the values that
    may be computed as positional parameters, and after the `*` those that must be constant; optional ones have the
    specification's default. An underscore before a name says that the parameter changes nothing here; one behind it
    keeps clear of Python's own names. The translator returns one result for each output of the operation.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def operation(self, translator: Translator) -> Translator:
        """Registers a translator under its function's name, less a trailing underscore; for use as a decorator."""
        self.add(translator.__name__.removesuffix("_"), translator)
        return translator

    def add(self, name: str, translator: Translator) -> None:
        """Registers a translator.

        Raises:
            ValueError: The operation has one already.
        """
        if name in self.entries:
            raise ValueError(f"the operation '{name}' is registered twice")
        self.entries[name] = Entry(translator, _parameters(translator))


def merge(tables: Iterable[OperationTable]) -> Mapping[str, Entry]:
    """One table of several.

    Raises:
        ValueError: An operation is in two of them.
    """
    merged: dict[str, Entry] = {}
    for table in tables:
        twice = merged.keys() & table.entries.keys()
        if twice:
            raise ValueError(f"registered in two families: {', '.join(sorted(twice))}")
        merged |= table.entries
    return merged


def _parameters(translator: Callable[..., object]) -> tuple[Parameter, ...]:
    _, *parameters = inspect.signature(translator).parameters.values()
    return tuple(
        Parameter(
            name=parameter.name.strip("_"),
            keyword=parameter.name,
            is_tensor=parameter.kind is not parameter.KEYWORD_ONLY,
            is_variadic=parameter.annotation == tuple[Tensor, ...],
            is_required=parameter.default is parameter.empty,
        )
        for parameter in parameters
    )
