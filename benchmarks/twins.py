"""The sample's classes, as others would declare them: pydantic models and dataclasses with the same fields."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from zego_aigc import aiagent
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.BOOLEAN: bool,
    Kind.MAP: dict[str, Any],
}


def pydantic_twins() -> SimpleNamespace:
    """Models with aliases, as a generator of SDKs writes them. Types are checked; ranges and characters are not."""
    import pydantic

    config = pydantic.ConfigDict(populate_by_name=True)

    def make(name: str, fields: Mapping[str, tuple[FieldSpec, Any]]) -> Any:
        members: dict[str, Any] = {
            attribute: (
                kind if spec.required else kind | None,
                pydantic.Field(... if spec.required else None, alias=spec.wire),
            )
            for attribute, (spec, kind) in fields.items()
        }
        return pydantic.create_model(name, __config__=config, **members)

    return _twins(make)


def dataclass_twins() -> SimpleNamespace:
    """Plain dataclasses, with the wire names in a table beside them."""

    def make(name: str, fields: Mapping[str, tuple[FieldSpec, Any]]) -> Any:
        members = [
            (attribute, Any) if spec.required else (attribute, Any, None)
            for attribute, (spec, _) in sorted(fields.items(), key=lambda item: not item[1][0].required)
        ]
        made = dataclasses.make_dataclass(name, members, kw_only=True)
        _WIRE_NAMES[made] = {attribute: spec.wire for attribute, (spec, _) in fields.items()}
        return made

    return _twins(make)


_WIRE_NAMES: dict[type, dict[str, str]] = {}


def dataclass_to_json(value: Any) -> str:
    """A dataclass of these as JSON, unset fields left out."""
    return json.dumps(_wire(value))


def _wire(value: Any) -> Any:
    if names := _WIRE_NAMES.get(type(value)):
        return {wire: _wire(inner) for name, wire in names.items() if (inner := getattr(value, name)) is not None}
    if isinstance(value, list):
        return [_wire(inner) for inner in value]
    return value


def _twins(make: Callable[[str, Mapping[str, tuple[FieldSpec, Any]]], Any]) -> SimpleNamespace:
    made: dict[str, Any] = {}

    def twin(struct: type[Wire]) -> Any:
        name = struct.__name__
        if name not in made:
            made[name] = make(name, {spec.attribute: (spec, type_of(spec)) for spec in fields_of(struct)})
        return made[name]

    def type_of(spec: FieldSpec) -> Any:
        if spec.kind is Kind.OBJECT:
            return twin(spec.struct)
        if spec.kind is Kind.LIST:
            return list[type_of(spec.item)] if spec.item else list[Any]  # type: ignore[misc]  # a type made at run time
        return _TYPES.get(spec.kind, Any)

    twin(aiagent.CreateDigitalHumanAgentInstance)
    return SimpleNamespace(**made)
