"""Checking a request before it costs anything, and its two forms: struct and wire.

A request is looked at twice at most. A function compiled from the struct's annotations answers yes or no in a few
microseconds; only when it says no (or when there are ``extra`` fields or advice to give) does :func:`examine` walk the
wire form and name every problem. The two never disagree on what is sound: a property test holds them together.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnnecessaryIsInstance=false
# (bodies are free-form JSON until they have been checked)
from __future__ import annotations

import enum
import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from zego_aigc.errors import ConfigurationError, InvalidRequest, Problem, VendorAdvice
from zego_aigc.schema.actions import Advice, Wire
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of
from zego_aigc.schema.redaction import mask_map

if TYPE_CHECKING:
    from zego_aigc.schema.constraints import Number, Text

__all__ = ["check", "encode", "examine", "from_wire", "quick_check", "to_wire"]

WireT = TypeVar("WireT", bound=Wire)


def _as_json(value: Any) -> Any:
    """For what msgspec cannot write by itself: subclasses of plain types, and maps and lists that are not dict and list."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    if _is_list(value):
        return list(value)
    raise TypeError(f"a Python {type(value).__name__} has no form in JSON")


_encoder = msgspec.json.Encoder(enc_hook=_as_json)


# --- the struct's side -------------------------------------------------------------------------------------------


def encode(action: Wire, *, advise: bool = True) -> bytes:
    """The checked JSON body of a request; gives the vendor's advice as warnings if it is to `advise`.

    Raises:
        InvalidRequest: with every problem of the request.
    """
    if quick_check(type(action))(action):
        try:
            return _encoder.encode(action)
        except (TypeError, ValueError, RecursionError):
            pass  # something inside a free-form map: examine() finds and names it
    return _encode_slowly(action, advise=advise)


def _encode_slowly(action: Wire, *, advise: bool) -> bytes:
    body = check(action, advise=advise)
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            [Problem("", "encoding", f"cannot be written as JSON: {error}")], action=type(action).__name__
        ) from error


def check(action: Wire, *, advise: bool = True) -> dict[str, Any]:
    """The checked wire form of a request; gives the vendor's advice as warnings if it is to `advise`.

    Raises:
        InvalidRequest: with every problem of the request.
    """
    body: dict[str, Any] = to_wire(action)
    cls = type(action)
    problems, advice = examine(cls, body, extra_is_known=True)
    problems = [*_collisions(action, ""), *problems]
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
    """The wire form of a struct, in builtins, wrong types left as they are for :func:`examine` to name."""
    if isinstance(value, Wire):
        body = {
            spec.wire: to_wire(inner)
            for spec in fields_of(type(value))
            if (inner := getattr(value, spec.attribute)) is not None
        }
        if isinstance(value.extra, Mapping):
            body.update({key: inner for key, inner in value.extra.items() if inner is not None and key not in body})
        return body
    if _is_list(value):
        return [to_wire(inner) for inner in value]
    return value.value if isinstance(value, enum.Enum) else value


def _collisions(value: Any, path: str) -> Iterator[Problem]:
    """Extra fields that the struct declares itself, or that are not a map of names."""
    if isinstance(value, Wire):
        declared = {spec.wire: spec.attribute for spec in fields_of(type(value))}
        if value.extra is not None and not (
            isinstance(value.extra, Mapping) and all(isinstance(key, str) for key in value.extra)
        ):
            yield Problem(f"{path}extra", "type", "must be a map from wire names to values")
        else:
            for key in value.extra or ():
                if key in declared:
                    yield Problem(f"{path}{key}", "unknown", f"is a declared field: set {declared[key]!r} instead of extra")
        for spec in fields_of(type(value)):
            yield from _collisions(getattr(value, spec.attribute), f"{path}{spec.wire}.")
    elif _is_list(value):
        for index, inner in enumerate(value):
            yield from _collisions(inner, f"{path[:-1]}[{index}].")


# --- the wire's side ---------------------------------------------------------------------------------------------


def from_wire(cls: type[WireT], body: Any, *, unknown: Literal["extra", "error"] = "extra") -> WireT:
    """The struct for a body in wire form; see :meth:`zego_aigc.schema.actions.Wire.from_wire`."""
    if unknown not in {"extra", "error"}:
        raise ConfigurationError(f"unknown must be 'extra' or 'error', not {unknown!r}")
    examination = _Examination(extra_is_known=unknown == "extra")
    struct = examination.object(cls, body, "")
    if struct is None or examination.problems:
        raise InvalidRequest(examination.problems, action=cls.__name__)
    return struct


def examine(cls: type[Wire], body: Any, *, extra_is_known: bool) -> tuple[list[Problem], list[str]]:
    """Every problem of a body in wire form; or, if there is none, the vendor's advice on it."""
    examination = _Examination(extra_is_known=extra_is_known)
    examination.object(cls, body, "")
    return examination.problems, [] if examination.problems else examination.advice


class _Examination:
    """A walk over a body that notes every problem and builds the struct on the way.

    Rules between fields are asked of each struct, also where some of its fields are not sound: those are left out, or are
    empty where the struct requires them, and what a rule has to say about them is passed over, since it is known by then.

    Args:
        extra_is_known: whether fields that the structs do not declare are right.
    """

    def __init__(self, *, extra_is_known: bool) -> None:
        self.problems: list[Problem] = []
        self.advice: list[str] = []
        self._extra_is_known = extra_is_known

    def object(self, cls: type[WireT], body: Any, path: str) -> WireT | None:
        """The struct for a body, unsound fields left out; None if it is no object."""
        if not isinstance(body, Mapping):
            self._note(path.rstrip("."), "type", f"must be an object, not {_json_name(body)}")
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
            values[spec.attribute] = value
        if rest and not self._extra_is_known:
            names = {spec.wire for spec in fields_of(cls)}
            for key in rest:
                self._note(f"{path}{key}", "unknown", f"is not a field of {cls.__name__}{_did_you_mean(str(key), names)}")
        values = {name: value for name, value in values.items() if value is not None}
        struct = cls(**values, extra={key: value for key, value in rest.items() if value is not None} or None)
        if cls.rules is not Wire.rules:
            self._ask_rules(struct, path, before)
        return struct

    def _ask_rules(self, struct: Wire, path: str, before: int) -> None:
        unsound = [problem.path for problem in self.problems[before:]]
        for finding in struct.rules():
            if isinstance(finding, Advice):
                self.advice.append(finding)
                continue
            at = (path + finding.path).rstrip(".")
            if not any(at == other or at.startswith((f"{other}.", f"{other}[")) for other in unsound):
                self.problems.append(finding.at(at))

    def _value(self, spec: FieldSpec, value: Any, path: str) -> Any:
        """A value that is not null as the struct holds it; None if it is not sound."""
        if spec.kind is Kind.OBJECT:
            return self.object(spec.struct, value, path + ".")
        if not _has_kind(value, spec.kind):
            self._note(path, "type", f"must be {_ARTICLE[spec.kind]}, not {_json_name(value)}")
            return None
        before = len(self.problems)
        if spec.kind is Kind.LIST:
            return self._list(spec, value, path)
        if spec.kind is Kind.MAP or spec.kind is Kind.ANY:
            if (trouble := _not_json(value)) is not None:
                self._note(path, "encoding", trouble)
        else:
            for rule, message in _scalar_problems(spec, value):
                self._note(path, rule, message if spec.secret else f"{message} (got {_excerpt(value)})")
        return value if len(self.problems) == before else None

    def _list(self, spec: FieldSpec, value: Sequence[Any], path: str) -> Sequence[Any]:
        if (items := spec.items) is not None and not items.least <= len(value) <= items.most:
            self._note(path, "items", f"holds {len(value)} items; allowed are {items.least} to {items.most}")
        if spec.item is None:
            return value
        sound: list[Any] = []
        for index, inner in enumerate(value):
            if inner is None:
                self._note(f"{path}[{index}]", "type", f"must be {_ARTICLE[spec.item.kind]}, not null")
            elif (made := self._value(spec.item, inner, f"{path}[{index}]")) is not None:
                sound.append(made)
        return sound

    def _note(self, path: str, rule: str, message: str) -> None:
        self.problems.append(Problem(path, rule, message))


def _empty(spec: FieldSpec) -> Any:
    """What stands for a required field that is not sound while rules are asked."""
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


def _has_kind(value: Any, kind: Kind) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case Kind.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Kind.BOOLEAN:
            return isinstance(value, bool)
        case Kind.LIST:
            return _is_list(value)
        case Kind.OBJECT | Kind.MAP:
            return isinstance(value, Mapping)
        case Kind.ANY:
            return True


def _scalar_problems(spec: FieldSpec, value: Any) -> Iterator[tuple[str, str]]:
    if spec.choices is not None and value not in spec.choices:
        yield "choice", f"must be {_one_of(spec.choices)}"
    if spec.number is not None and not spec.number.low <= value <= spec.number.high:
        yield "range", f"must be {_plain(spec.number.low)} to {_plain(spec.number.high)}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield "range", "must be a finite number"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield "range", "does not fit 64 bits"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            yield "encoding", "holds half a surrogate pair, which UTF-8 cannot carry"
        else:
            yield from _text_problems(spec.text, value)


def _text_problems(text: Text | None, value: str) -> Iterator[tuple[str, str]]:
    if text is None:
        return
    if len(value) < text.min_chars:
        yield "length", "must not be empty" if text.min_chars == 1 else f"must be at least {text.min_chars} characters"
        return
    if text.max_chars is not None and len(value) > text.max_chars:
        yield "length", f"is {len(value)} characters; at most {text.max_chars} are allowed"
    elif text.max_bytes is not None and (size := len(value.encode())) > text.max_bytes:
        yield "bytes", f"is {size} bytes in UTF-8; at most {text.max_bytes} are allowed"
    if value and text.chars is not None and re.fullmatch(f"[{text.chars}]+", value) is None:
        yield "characters", f"may hold only {text.alphabet}"
    if text.pattern is not None and re.fullmatch(text.pattern, value) is None:
        yield "characters", f"must be {text.form or text.pattern}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _plain(number: float) -> str:
    """1000000, not 1e+06."""
    return str(int(number)) if number == int(number) else str(number)


def _one_of(values: Sequence[int | str]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last


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
        case _ if _is_list(value):
            return "a list"
        case _:
            return f"a Python {type(value).__name__}"


def _excerpt(value: Any, most: int = 60) -> str:
    text = repr(mask_map(value))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _not_json(value: Any) -> str | None:
    """What keeps a free-form value from being written as JSON, without showing it."""
    try:
        _encoder.encode(value)
    except RecursionError:
        return "is nested too deeply"
    except (TypeError, ValueError) as error:
        return f"cannot be written as JSON: {error}"
    return None


def _did_you_mean(key: str, names: set[str]) -> str:
    import difflib

    folded = {name.lower().replace("_", ""): name for name in names}
    close = difflib.get_close_matches(key.lower().replace("_", ""), folded, n=1, cutoff=0.75)
    return f"; did you mean {folded[close[0]]}?" if close else ""


# --- the quick answer --------------------------------------------------------------------------------------------


@functools.cache
def quick_check(cls: type[Wire]) -> Callable[[Any], bool]:
    """A function that says whether a struct is sound, has no ``extra`` and calls for no advice.

    Written out as straight-line Python and compiled once per class: a walk over the specs costs ten times as much.
    """
    source = _Source()
    # As locals, these names take a sixth of the room that they would as globals: the code is cold when its turn comes.
    source.line(0, "def check(v, str=str, int=int, float=float, dict=dict, list=list, tuple=tuple, len=len):")
    source.struct(1, cls, "v")
    source.line(1, "return True")
    exec("\n".join(source.lines), source.names)  # noqa: S102 - our own annotations, as dataclasses do it
    check: Callable[[Any], bool] = source.names["check"]
    return check


class _Source:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def name(self, value: Any) -> str:
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name

    def struct(self, depth: int, cls: type[Wire], v: str) -> None:
        """What is inside a struct, written out in place: a function call for each would cost as much as its checks."""
        self.line(depth, f"if {v}.extra is not None: return False")
        for spec in fields_of(cls):
            self.line(depth, f"{v}_ = {v}.{spec.attribute}")
            if spec.required:
                self.value(depth, spec, f"{v}_")
            else:
                self.line(depth, f"if {v}_ is not None:")
                self.value(depth + 1, spec, f"{v}_")
        if cls.rules is not Wire.rules:
            if fields := cls.rules.__dict__.get("about"):
                self.line(depth, f"if {' or '.join(f'{v}.{field} is not None' for field in fields)}:")
                depth += 1
            self.line(depth, f"for _ in {v}.rules(): return False")

    def value(self, depth: int, spec: FieldSpec, v: str) -> None:
        refusals = list(self.refusals(spec, v))
        if refusals:
            self.line(depth, f"if {' or '.join(refusals)}: return False")
        else:
            self.line(depth, "pass")
        if spec.kind is Kind.OBJECT:
            self.struct(depth, spec.struct, v)
        elif spec.kind is Kind.LIST and spec.item is not None:
            self.line(depth, f"for {v}i in {v}:")
            self.value(depth + 1, spec.item, f"{v}i")

    def refusals(self, spec: FieldSpec, v: str) -> Iterator[str]:
        """Expressions that are true of an unsound value. What they cannot settle counts as unsound: examine() decides."""
        match spec.kind:
            case Kind.TEXT:
                yield f"{v}.__class__ is not str"
                yield from self.text_refusals(spec.text, v)
            case Kind.INTEGER:
                # An IntEnum's member is as good as its number.
                yield f"{v}.__class__ is not int and {v}.__class__.__base__ is not {self.name(enum.IntEnum)}"
                yield from self.number_refusals(spec.number, v, whole=True, closed=spec.choices is not None)
            case Kind.NUMBER:
                yield f"{v}.__class__ is not float and {v}.__class__ is not int"
                yield from self.number_refusals(spec.number, v, whole=False, closed=False)
            case Kind.BOOLEAN:
                yield f"{v} is not True and {v} is not False"
            case Kind.OBJECT:
                yield f"{v}.__class__ is not {self.name(spec.struct)}"
            case Kind.LIST:
                yield f"{v}.__class__ is not list and {v}.__class__ is not tuple"
                if spec.items is not None:
                    yield f"not {spec.items.least} <= len({v}) <= {spec.items.most}"
            case Kind.MAP:
                yield f"{v}.__class__ is not dict"
            case Kind.ANY:
                pass
        if spec.choices is not None:
            yield f"{v} not in {self.name(spec.choices)}"

    def number_refusals(self, number: Number | None, v: str, *, whole: bool, closed: bool) -> Iterator[str]:
        if number is not None:
            yield f"not {number.low} <= {v} <= {number.high}"
        elif not closed:
            yield f"not -{2**63} <= {v} < {2**63}" if whole else f"not -1.7e308 < {v} < 1.7e308"

    def text_refusals(self, text: Text | None, v: str) -> Iterator[str]:
        if text is None:
            return
        if text.chars is not None and text.pattern is None:
            # One match answers for characters, length and bytes alike, since every allowed class is ASCII.
            most = min(bound for bound in (text.max_chars, text.max_bytes, 1 << 20) if bound is not None)
            match = re.compile(f"[{text.chars}]{{{text.min_chars},{most}}}").fullmatch
            yield f"not {self.name(match)}({v})"
            return
        if text.min_chars:
            yield f"len({v}) < {text.min_chars}"
        if text.max_chars is not None:
            yield f"len({v}) > {text.max_chars}"
        if text.max_bytes is not None:
            # Four bytes a character at most: a short string needs no second look.
            yield f"(len({v}) > {text.max_bytes // 4} and ({v}.isascii() and len({v}) or 1 << 30) > {text.max_bytes})"
        if text.pattern is not None:
            yield f"not {self.name(re.compile(text.pattern).fullmatch)}({v})"
