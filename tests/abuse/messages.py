"""Strategies that draw any message of the API, read off the messages' own descriptors."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_LONG_TEXT = st.builds(lambda one, count: one * count, st.sampled_from("xä☆\n"), st.integers(5_000, 30_000))
_INT32 = st.integers(-3, 200) | st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-3, 200) | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1])

_ANYTHING: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXT | _TEXT | _TEXT | _LONG_TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 9) | _INT32,
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
}

Sensible = Mapping[str, Sequence[Any]]
"""Values that make sense to the farm by the name of the field that holds them; None leaves the field out."""


def messages(descriptor: Descriptor, sensible: Sensible, sense: int = 6) -> st.SearchStrategy[Message]:
    """Draws messages of a kind.

    Args:
        descriptor: The kind.
        sensible: Fields that are not named here hold anything that the wire carries, or are left out.
        sense: How many times more often a field that is named holds sense than anything else; 0 is always.
    """
    fields = {field.name: _field(field, sensible, sense) for field in descriptor.fields}
    return st.builds(GetMessageClass(descriptor), **fields)


def _field(field: FieldDescriptor, sensible: Sensible, sense: int) -> st.SearchStrategy[Any]:
    known = st.sampled_from(sensible[field.name]) if field.name in sensible else None
    if known is not None and not sense:
        return _listed(field, known)
    anything = st.none() | _listed(field, _values(field, sensible, sense))
    return anything if known is None else st.one_of(*[_listed(field, known)] * sense, anything)


def _listed(field: FieldDescriptor, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    is_list = field.is_repeated and not _is_map(field)
    return st.lists(values.filter(lambda value: value is not None), max_size=4) if is_list else values


def _values(field: FieldDescriptor, sensible: Sensible, sense: int) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        return _ANYTHING[field.type]
    if _is_map(field):
        key, value = field.message_type.fields
        return st.dictionaries(_ANYTHING[key.type], _ANYTHING[value.type], max_size=3)
    return messages(field.message_type, sensible, sense)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
