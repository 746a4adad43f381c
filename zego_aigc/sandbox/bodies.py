"""From a call's body, or its query for GET, to the Action; judged by the Action's own declaration."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.errors import InvalidRequest
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.schema.actions import Service
from zego_aigc.schema.fields import Kind, fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zego_aigc.errors import Problem
    from zego_aigc.schema.actions import Action

__all__ = ["fields_in_query", "read_action", "read_json"]

OLDER_NAMES = {"RtcInfo": "RTC"}
"""Names that some of the vendor's examples still have, and what the reference calls them."""

_decode = msgspec.json.Decoder().decode


def read_json(cls: type[Action[Any]], content: bytes) -> Any:
    """The JSON of a body; an empty body is an empty object.

    Raises:
        Refusal: if it is not JSON.
    """
    if not content.strip():
        return {}
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        code = 410000004 if cls.service is Service.AI_AGENT else 400000001
        raise Refusal(code, f"the body is not JSON: {error}") from error


def fields_in_query(cls: type[Action[Any]], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A body whose fields stand in the query of a GET. Numbers, booleans, objects and lists are read as JSON."""
    kinds = {spec.wire: spec.kind for spec in fields_of(cls)}
    body: dict[str, Any] = {}
    for key, text in pairs:
        body[key] = text  # what is not JSON stays a string, which the declaration refuses by name
        if kinds.get(key, Kind.TEXT) is not Kind.TEXT:
            with contextlib.suppress(msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                body[key] = _decode(text)

    return body


def read_action(cls: type[Action[Any]], body: Any) -> Action[Any]:
    """The Action for a body. Fields that its declaration does not know are accepted, and null counts as absent.

    Raises:
        Refusal: with every problem in its message.
    """
    try:
        return cls.from_wire(_with_declared_names(cls, body))
    except InvalidRequest as error:
        code = 400000001 if cls.service is Service.DIGITAL_HUMAN else _agent_code(error.problems[0])
        raise Refusal(code, "; ".join(map(str, error.problems))) from error


def _with_declared_names(cls: type[msgspec.Struct], body: Any) -> Any:
    """The body with its fields called as they are declared, since the vendor's own examples spell some otherwise."""
    if body.__class__ is not dict:
        return body
    named: dict[str, Any] = body
    names, parts = _names_of(cls)
    if not named.keys() <= names.keys():
        named = {}
        for key, value in body.items():
            name = key if key in names else _declared(names, key)
            named[key if name != key and (name in body or name in named) else name] = value
    for name, part in parts:
        value = named.get(name)
        if value.__class__ is dict and (inner := _with_declared_names(part, value)) is not value:
            named = {**named, name: inner}
    return named


def _declared(names: Mapping[str, str], key: str) -> str:
    lower = OLDER_NAMES.get(key, key).lower()
    return next((name for name, lowered in names.items() if lowered == lower), key)


@functools.cache
def _names_of(cls: type[msgspec.Struct]) -> tuple[Mapping[str, str], tuple[tuple[str, type[msgspec.Struct]], ...]]:
    """The names of a struct's fields, each with its lower-case form, and those of them that are structs themselves."""
    fields = fields_of(cls)
    return {spec.wire: spec.wire.lower() for spec in fields}, tuple(
        (spec.wire, spec.struct) for spec in fields if spec.kind is Kind.OBJECT
    )


def _agent_code(problem: Problem) -> int:
    if problem.path == "DigitalHuman.ConfigId":
        return 410001026
    if problem.path.startswith("DigitalHuman."):
        return 410000014
    return 410000003
