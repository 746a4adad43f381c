"""Keeping credentials out of what people see: reprs, messages, logs, journals, recordings."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (free-form JSON)
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.schema.fields import Kind, fields_of

if TYPE_CHECKING:
    from zego_aigc.schema.fields import FieldSpec

__all__ = ["MASK", "mask_map", "masked_fields", "masked_repr", "masked_wire", "scrub"]

MASK = "***"

_TELLTALE = (
    r"(^|[_.-]|api|app|access|(?-i:[a-z0-9](?=K)))key(_?id)?$|secret|token$|passw|pwd$|credential|authorization|signature"
    r"|cookie|^(ak_?id|app)$"
)
"""Keys of free-form maps whose values are taken for credentials."""


def _is_telltale(key: str) -> bool:
    return re.search(_TELLTALE, key, re.IGNORECASE) is not None


def mask_map(value: Any, keys: Iterable[str] = ()) -> Any:
    """A free-form value with everything masked that stands under a telltale key or one of `keys`."""
    match value:
        case Mapping():
            return {
                key: MASK if inner and (key in keys or _is_telltale(str(key))) else mask_map(inner, keys)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [mask_map(inner, keys) for inner in value]
        case _:
            return value


def masked_fields(struct: msgspec.Struct) -> Iterable[tuple[str, Any]]:
    """Name and shown value of each field that is set."""
    for spec in fields_of(type(struct)):
        value = getattr(struct, spec.attribute)
        if value is not None:
            yield spec.attribute, _shown(spec, value)
    if extra := getattr(struct, "extra", None):
        yield "extra", mask_map(extra)


def _shown(spec: FieldSpec, value: Any) -> Any:
    if spec.secret is not None and not spec.secret.keys:
        return MASK if value else value
    if isinstance(value, Mapping):
        return mask_map(value, spec.secret.keys if spec.secret else ())
    return value  # structs inside mask themselves


def masked_repr(struct: msgspec.Struct) -> str:
    """``Name(field=value, ...)`` of the fields that are set, secrets masked."""
    inside = ", ".join(f"{name}={value!r}" for name, value in masked_fields(struct))
    return f"{type(struct).__name__}({inside})"


def masked_wire(cls: type[msgspec.Struct] | None, body: Any) -> Any:
    """A body in wire form with its secrets masked. `cls` may be unknown: then only telltale keys are."""
    if cls is None or not isinstance(body, Mapping):
        return mask_map(body)
    specs = {spec.wire: spec for spec in fields_of(cls)}
    masked: dict[str, Any] = {}
    for key, value in body.items():
        spec = specs.get(key)
        masked[key] = mask_map({key: value})[key] if spec is None else _masked_value(spec, value)
    return masked


def _masked_value(spec: FieldSpec, value: Any) -> Any:
    if spec.secret is not None and not spec.secret.keys:
        return MASK if value else value
    if spec.kind is Kind.OBJECT:
        return masked_wire(spec.struct, value)
    if spec.kind is Kind.LIST and isinstance(value, Sequence) and not isinstance(value, str):
        return [_masked_value(spec.item, item) for item in value] if spec.item else mask_map(value)
    return mask_map(value, spec.secret.keys if spec.secret else ())


def scrub(text: str, action: Any, *secrets: str) -> str:
    """A text of the service with the request's secrets and `secrets` masked, should it have echoed any."""
    for secret in sorted({*secrets, *_secrets_of(action)}, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    return text


_SHORTEST = 6
"""Shorter values are not looked for: masking every "1" would hide the text and give the secret away."""


def _secrets_of(value: Any) -> Iterable[str]:
    match value:
        case msgspec.Struct():
            for spec in fields_of(type(value)):
                inner = getattr(value, spec.attribute)
                if spec.secret is not None and not spec.secret.keys:
                    yield from _strings_in(inner)
                elif spec.kind is Kind.MAP:
                    yield from _secrets_in_map(inner, spec.secret.keys if spec.secret else ())
                else:
                    yield from _secrets_of(inner)
            yield from _secrets_in_map(getattr(value, "extra", None), ())
        case list() | tuple():
            for inner in value:
                yield from _secrets_of(inner)
        case Mapping():
            yield from _secrets_in_map(value, ())
        case _:
            pass


def _secrets_in_map(value: Any, keys: Iterable[str]) -> Iterable[str]:
    match value:
        case Mapping():
            for key, inner in value.items():
                if key in keys or _is_telltale(str(key)):
                    yield from _strings_in(inner)
                else:
                    yield from _secrets_in_map(inner, keys)
        case list() | tuple():
            for inner in value:
                yield from _secrets_in_map(inner, keys)
        case _:
            pass


def _strings_in(value: Any) -> Iterable[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _strings_in(inner)
        case list() | tuple():
            for inner in value:
                yield from _strings_in(inner)
        case _:
            pass
