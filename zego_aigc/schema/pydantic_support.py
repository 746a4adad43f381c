"""What pydantic asks of a result, in FastAPI above all. Where there is no pydantic, nothing asks."""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportMissingImports=false
from __future__ import annotations

import functools
from typing import Any

import msgspec

from zego_aigc.schema.decoding import dec_hook, declared
from zego_aigc.schema.fields import FieldSpec, Kind, field_docs, fields_of

__all__ = ["core_schema_of", "json_schema_of", "serializer_of"]

_TYPES = {
    Kind.TEXT: "string",
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.MAP: "object",
}


def core_schema_of(cls: type[Any]) -> Any:
    """The schema by which pydantic takes a result or its JSON, and writes it."""
    from pydantic_core import core_schema

    def checked(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        try:
            return msgspec.convert(declared(cls, value), cls, dec_hook=dec_hook)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    def written(_schema: Any, _handler: Any) -> dict[str, Any]:
        return json_schema_of(cls)

    return core_schema.no_info_plain_validator_function(
        checked,
        serialization=core_schema.plain_serializer_function_ser_schema(dict),
        json_schema_input_schema=core_schema.dict_schema(),
        metadata={"pydantic_js_functions": [written]},
    )


@functools.cache
def serializer_of(cls: type[Any]) -> Any:
    """What writes a result that no annotation names.

    Raises:
        AttributeError: there is no pydantic, so that nothing of it can have asked.
    """
    try:
        from pydantic_core import SchemaSerializer
    except ImportError as error:
        raise AttributeError("__pydantic_serializer__") from error
    return SchemaSerializer(core_schema_of(cls))


def json_schema_of(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of a result, for OpenAPI."""
    docs = field_docs(cls)
    return {
        "type": "object",
        "title": cls.__name__,
        "properties": {
            spec.wire: {**_value_schema(spec), "description": docs.get(spec.attribute, "")} for spec in fields_of(cls)
        },
        "required": [spec.wire for spec in fields_of(cls) if spec.required],
    }


def _value_schema(spec: FieldSpec) -> dict[str, Any]:
    if spec.kind is Kind.OBJECT:
        return json_schema_of(spec.struct)
    if spec.kind is Kind.LIST:
        return {"type": "array", "items": _value_schema(spec.item) if spec.item is not None else {}}
    return {"type": _TYPES[spec.kind]} if spec.kind in _TYPES else {}
