"""Messages as plain data for JSON files and `--json`."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def json_form(message: Message) -> dict[str, Any]:
    """`message` in protobuf's JSON mapping with the API's field names, and whole numbers as numbers.

    The mapping writes 64-bit integers as strings for the sake of JavaScript. Nothing here comes near 2^53, and scripts
    that read an index expect a number.
    """
    plain = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _restore_integers(plain, message.DESCRIPTOR)
    return plain


def _restore_integers(plain: dict[str, Any], descriptor: Any) -> None:
    for name, value in plain.items():
        field = descriptor.fields_by_name.get(name)
        if field is None:
            continue
        if field.cpp_type == FieldDescriptor.CPPTYPE_INT64:
            plain[name] = [int(item) for item in value] if isinstance(value, list) else int(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):  # times and durations are strings
                    _restore_integers(item, field.message_type)
