"""Checking a request before it costs anything, and its two forms: struct and wire.

A request is looked at twice at most. A function compiled from the struct's annotations (:mod:`zego_aigc.schema.codegen`)
answers yes or no in a few microseconds; only when it says no (or when there are ``extra`` fields or advice to give) does
:func:`validate` walk the wire form and name every problem. The two never disagree on what is valid: both ask the same
constraints, and a property test holds them together.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (bodies are free-form JSON until they have been checked)
from __future__ import annotations

import enum
import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from zego_aigc.errors import ConfigurationError, InvalidRequest, Problem, VendorAdvice
from zego_aigc.schema.codegen import compiled_check
from zego_aigc.schema.constraints import Advice
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of, is_list
from zego_aigc.schema.naming import did_you_mean
from zego_aigc.schema.redaction import mask_map

__all__ = ["check", "encode", "from_wire", "to_wire", "validate"]

StructT = TypeVar("StructT", bound=msgspec.Struct)


def _as_json(value: Any) -> Any:
    """For what msgspec cannot write by itself: subclasses of plain types, and maps and lists that are not dict and list."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    if is_list(value):
        return list(value)
    raise TypeError(f"a Python {type(value).__name__} has no form in JSON")


_encoder = msgspec.json.Encoder(enc_hook=_as_json)


# --- the struct's side -------------------------------------------------------------------------------------------


def encode(action: msgspec.Struct, *, advise: bool = True) -> bytes:
    """The checked JSON body of a request; emits the vendor's advice as warnings when `advise` is true.

    Raises:
        InvalidRequest: with every problem of the request.
    """
    if compiled_check(type(action))(action):
        try:
            return _encoder.encode(action)
        except (TypeError, ValueError, RecursionError):
            pass  # something inside a free-form map: validate() finds and names it
    return _encode_slowly(action, advise=advise)


def _encode_slowly(action: msgspec.Struct, *, advise: bool) -> bytes:
    body = check(action, advise=advise)
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            [Problem("", "encoding", f"cannot be written as JSON: {error}")], action=type(action).__name__
        ) from error


def check(action: msgspec.Struct, *, advise: bool = True) -> dict[str, Any]:
    """The checked wire form of a request; emits the vendor's advice as warnings when `advise` is true.

    Raises:
        InvalidRequest: with every problem of the request.
    """
    body: dict[str, Any] = to_wire(action)
    cls = type(action)
    problems, advice = validate(cls, body, extra_is_known=True)
    problems = [*_slips(action, ""), *problems]
    if problems:
        raise InvalidRequest(problems, action=cls.__name__)
    for text in advice if advise else ():
        warnings.warn(f"{cls.__name__}: {text}", VendorAdvice, stacklevel=_stacklevel())
    return body


def _stacklevel() -> int:
    """How far up the first frame outside this package is, so that a warning points at the user's line."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("zego_aigc."):
        frame, level = frame.f_back, level + 1
    return level


def to_wire(value: Any) -> Any:
    """The wire form of a struct, in builtins, wrong types left as they are for :func:`validate` to name."""
    if isinstance(value, msgspec.Struct):
        extra: Any = getattr(value, "extra", None)
        body = {
            spec.wire: to_wire(inner)
            for spec in fields_of(type(value))
            if (inner := getattr(value, spec.attribute)) is not None
        }
        if isinstance(extra, Mapping):
            body.update({key: inner for key, inner in extra.items() if inner is not None and key not in body})
        return body
    if is_list(value):
        return [to_wire(inner) for inner in value]
    return value.value if isinstance(value, enum.Enum) else value


def _slips(value: Any, path: str) -> Iterator[Problem]:
    """What is wrong with how a struct was put together, and does not show in its wire form."""
    cls: type[msgspec.Struct] = type(value)
    extra = value.extra
    declared = {spec.wire: spec.attribute for spec in fields_of(cls)}
    if extra is not None and not (isinstance(extra, Mapping) and all(isinstance(key, str) for key in extra)):
        yield Problem(f"{path}extra", "type", "must be a map from wire names to values")
    else:
        for key in extra or ():
            if key in declared:
                yield Problem(f"{path}{key}", "unknown", f"is a declared field: set {declared[key]!r} instead of extra")
    for spec in fields_of(cls):
        yield from _slips_inside(spec, getattr(value, spec.attribute), path + spec.wire)


def _slips_inside(spec: FieldSpec, value: Any, path: str) -> Iterator[Problem]:
    if spec.kind is Kind.OBJECT:
        if isinstance(value, spec.struct):
            yield from _slips(value, f"{path}.")
        elif isinstance(value, Mapping | msgspec.Struct):
            # Fields to come go into a struct's extra. So a key that a plain map has and the struct has not is a mistake.
            problems, _ = validate(spec.struct, to_wire(value), extra_is_known=False)
            for problem in problems:
                if problem.rule == "unknown":
                    yield problem.at(f"{path}.{problem.path}")
    elif spec.kind is Kind.LIST and spec.item is not None and is_list(value):
        for index, inner in enumerate(value):
            yield from _slips_inside(spec.item, inner, f"{path}[{index}]")


# --- the wire's side ---------------------------------------------------------------------------------------------


def from_wire(cls: type[StructT], body: Any, *, unknown: Literal["extra", "error"] = "extra") -> StructT:
    """The struct for a body in wire form; see :meth:`zego_aigc.schema.actions.Wire.from_wire`."""
    if unknown not in {"extra", "error"}:
        raise ConfigurationError(f"unknown must be 'extra' or 'error', not {unknown!r}")
    validator = _Validator(extra_is_known=unknown == "extra")
    struct = validator.object(cls, body, "")
    if struct is None or validator.problems:
        raise InvalidRequest(validator.problems, action=cls.__name__)
    return struct


def validate(cls: type[msgspec.Struct], body: Any, *, extra_is_known: bool) -> tuple[list[Problem], list[str]]:
    """Every problem of a body in wire form; or, if there is none, the vendor's advice on it."""
    validator = _Validator(extra_is_known=extra_is_known)
    validator.object(cls, body, "")
    return validator.problems, [] if validator.problems else validator.advice


class _Validator:
    """A walk over a body that notes every problem and builds the struct on the way.

    Rules between fields are asked of each struct, also where some of its fields are not valid: those are left out, or are
    empty where the struct requires them, and what a rule has to say about them is passed over, since it is known by then.

    Args:
        extra_is_known: whether fields that the structs do not declare are right.
    """

    def __init__(self, *, extra_is_known: bool) -> None:
        self.problems: list[Problem] = []
        self.advice: list[str] = []
        self._extra_is_known = extra_is_known

    def object(self, cls: type[StructT], body: Any, path: str) -> StructT | None:
        """The struct for a body, invalid fields left out; None if it is no object."""
        if not isinstance(body, Mapping):
            fields = f" with the fields of {cls.__name__}" if path else ""
            self._note(path.rstrip("."), "type", f"must be an object{fields}, not {_json_name(body)}")
            return None
        before = len(self.problems)
        values: dict[str, Any] = {}
        rest = dict(body)
        for spec in fields_of(cls):
            value = rest.pop(spec.wire, None)
            if value is not None:
                value = self._value(spec, value, path + spec.wire)
            elif spec.required:
                self._note(path + spec.wire, "required", "is required")
            if value is None and spec.required:
                value = _empty(spec)
            if value is not None:
                values[spec.attribute] = value
        if rest:
            self._undeclared(cls, rest, path)
            values["extra"] = {key: value for key, value in rest.items() if value is not None} or None
        struct = cls(**values)
        if hasattr(cls, "rules"):
            self._ask_rules(struct, path, before)
        return struct

    def _undeclared(self, cls: type[msgspec.Struct], fields: Mapping[Any, Any], path: str) -> None:
        names = () if self._extra_is_known else {spec.wire for spec in fields_of(cls)}
        for key, value in fields.items():
            if not self._extra_is_known:
                self._note(f"{path}{key}", "unknown", f"is not a field of {cls.__name__}{did_you_mean(str(key), names)}")
            self._free_form(value, f"{path}{key}")

    def _ask_rules(self, struct: Any, path: str, before: int) -> None:
        invalid = [problem.path for problem in self.problems[before:]]
        for finding in struct.rules():
            if isinstance(finding, Advice):
                self.advice.append(finding)
                continue
            at = (path + finding.path).rstrip(".")
            if not any(at == other or at.startswith((f"{other}.", f"{other}[")) for other in invalid):
                self.problems.append(finding.at(at))

    def _value(self, spec: FieldSpec, value: Any, path: str) -> Any:
        """A value that is not null as the struct holds it; None if it is not valid."""
        if spec.kind is Kind.OBJECT:
            return self.object(spec.struct, value, path + ".")
        if not spec.accepts(value):
            self._note(path, "type", f"must be {_ARTICLE[spec.kind]}, not {_json_name(value)}")
            return None
        before = len(self.problems)
        if spec.kind is Kind.LIST:
            return self._list(spec, value, path)
        if spec.kind is Kind.MAP or spec.kind is Kind.ANY:
            self._free_form(value, path)
        else:
            for rule, message in spec.problems(value):
                self._note(path, rule, message if spec.secret else f"{message} (got {_excerpt(value)})")
        return value if len(self.problems) == before else None

    def _list(self, spec: FieldSpec, value: Sequence[Any], path: str) -> Sequence[Any]:
        for rule, message in spec.problems(value):
            self._note(path, rule, message)
        if spec.item is None:
            return value
        valid: list[Any] = []
        for index, inner in enumerate(value):
            if inner is None:
                self._note(f"{path}[{index}]", "type", f"must be {_ARTICLE[spec.item.kind]}, not null")
            elif (made := self._value(spec.item, inner, f"{path}[{index}]")) is not None:
                valid.append(made)
        return valid

    def _free_form(self, value: Any, path: str) -> None:
        """Note what keeps a free-form value from being written as JSON, without showing it."""
        try:
            written = _encoder.encode(value)
        except RecursionError:
            self._note(path, "encoding", "is nested too deeply")
        except (TypeError, ValueError) as error:
            self._note(path, "encoding", f"cannot be written as JSON: {error}")
        else:
            for at in _not_finite(value, path) if b"null" in written else ():
                self._note(at, "range", "must be a finite number: JSON has neither NaN nor infinity")

    def _note(self, path: str, rule: str, message: str) -> None:
        self.problems.append(Problem(path, rule, message))


def _empty(spec: FieldSpec) -> Any:
    """What stands for a required field that is not valid while rules are asked."""
    if spec.kind is Kind.OBJECT:
        return spec.struct(**{inner.attribute: _empty(inner) for inner in fields_of(spec.struct) if inner.required})
    return _EMPTY[spec.kind]


_EMPTY: dict[Kind, Any] = {
    Kind.TEXT: "",
    Kind.INTEGER: 0,
    Kind.NUMBER: 0.0,
    Kind.BOOLEAN: False,
    Kind.MAP: {},
    Kind.LIST: (),
    Kind.ANY: None,
}


_ARTICLE = {
    Kind.TEXT: "a string",
    Kind.INTEGER: "an integer",
    Kind.NUMBER: "a number",
    Kind.BOOLEAN: "true or false",
    Kind.OBJECT: "an object",
    Kind.MAP: "an object",
    Kind.LIST: "a list",
    Kind.ANY: "a value",
}


def _json_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case _ if is_list(value):
            return "a list"
        case _:
            return f"a Python {type(value).__name__}"


def _excerpt(value: Any, most: int = 60) -> str:
    shown = mask_map(value)
    text = repr(shown)
    if len(text) <= most:
        return text
    return repr(f"{shown[: most - 5]}...") if isinstance(shown, str) else f"{text[: most - 3]}..."


def _not_finite(value: Any, path: str) -> Iterator[str]:
    """Where NaN or infinity stands in a free-form value."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{path}.{key}")
    elif is_list(value):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{path}[{index}]")
