"""What a struct's annotations say, as data: one :class:`FieldSpec` a field, collected on first use and kept.

A field says what values it takes in the same two forms as its bounds do: see :mod:`zego_aigc.schema.constraints`.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import math
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from zego_aigc.schema.constraints import Bind, Deprecated, Items, Number, OneOf, Secret, Text

__all__ = ["FieldSpec", "Kind", "field_docs", "fields_of", "is_list"]


class Kind(enum.Enum):
    """The JSON shape of a value."""

    TEXT = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    """One of our structs."""
    MAP = "map"
    """A free-form object."""
    LIST = "list"
    ANY = "any"


class FieldSpec(msgspec.Struct, frozen=True):
    """A field, or a list's item (then without names)."""

    attribute: str
    wire: str
    kind: Kind
    required: bool
    struct: Any = None
    """The struct class, where kind is OBJECT."""
    item: FieldSpec | None = None
    """What a list holds."""
    text: Text | None = None
    number: Number | None = None
    items: Items | None = None
    choices: OneOf | None = None
    """The closed set of values."""
    known: tuple[str, ...] = ()
    """The known values of an open set."""
    secret: Secret | None = None
    deprecated: Deprecated | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a value has the field's JSON shape."""
        match self.kind:
            case Kind.TEXT:
                return isinstance(value, str)
            case Kind.INTEGER:
                return isinstance(value, int) and not isinstance(value, bool)
            case Kind.NUMBER:
                return isinstance(value, int | float) and not isinstance(value, bool)
            case Kind.BOOLEAN:
                return isinstance(value, bool)
            case Kind.LIST:
                return is_list(value)
            case Kind.OBJECT | Kind.MAP:
                return isinstance(value, Mapping)
            case Kind.ANY:
                return True

    def problems(self, value: Any) -> Iterator[tuple[str, str]]:
        """What is wrong with a value of the right shape, as rule and message; lists and objects are not looked into."""
        if self.choices is not None:
            yield from self.choices.problems(value)
        if self.items is not None:
            yield from self.items.problems(len(value))
        if self.number is not None and (found := list(self.number.problems(value))):
            yield from found
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
                yield from () if self.text is None else self.text.problems(value)

    def failures(self, var: str, bind: Bind) -> Iterator[str]:
        """Expressions of which one is true of a value in `var` that is of another shape or has problems.

        They may be true of a value that is right after all, such as a subclass of ``str``: the walk has the last word. Half a
        surrogate pair is left to the encoder.
        """

        def bind_here(hint: str, constant: Any) -> str:
            return bind(f"{self.attribute or 'item'}_{hint}", constant)

        match self.kind:
            case Kind.TEXT:
                if self.choices is None:  # what is one of them is text
                    yield f"{var}.__class__ is not str"
            case Kind.INTEGER:
                # An IntEnum's member is as good as its number.
                yield f"{var}.__class__ is not int and {var}.__class__.__base__ is not {bind('IntEnum', enum.IntEnum)}"
            case Kind.NUMBER:
                yield f"{var}.__class__ is not float and {var}.__class__ is not int"
            case Kind.BOOLEAN:
                yield f"{var} is not True and {var} is not False"
            case Kind.OBJECT:
                yield f"{var}.__class__ is not {bind(self.struct.__name__, self.struct)}"
            case Kind.LIST:
                yield f"{var}.__class__ is not list and {var}.__class__ is not tuple"
            case Kind.MAP:
                yield f"{var}.__class__ is not dict"
                yield from _not_finite(var, bind)
            case Kind.ANY:
                yield from _not_finite(var, bind)
        if self.choices is not None:
            yield from self.choices.failures(var)
        if self.items is not None:
            yield from self.items.failures(var)
        if self.number is not None:
            yield from self.number.failures(var)
        elif self.kind is Kind.INTEGER and self.choices is None:
            yield f"not -{2**63} <= {var} < {2**63}"
        elif self.kind is Kind.NUMBER:
            yield f"not -1.7e308 < {var} < 1.7e308"
        if self.text is not None:
            yield from self.text.failures(var, bind_here)


def _not_finite(var: str, bind: Bind) -> Iterator[str]:
    """The expression that is true of a free-form value which holds NaN or infinity.

    They are looked for as MessagePack writes them: 0xcb and an exponent of all ones. Looking into maps in Python, or
    through the whole JSON for the null that they become there, takes longer.
    """
    pack = bind("pack", _pack)
    yield f"{var} and (b'\\xcb\\x7f' in (packed := {pack}({var})) or b'\\xcb\\xff' in packed)"


_pack = msgspec.msgpack.Encoder().encode


def is_list(value: Any) -> bool:
    """Whether a value is written as a JSON list."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, Kind.BOOLEAN),
    (int, Kind.INTEGER),  # IntEnum too
    (float, Kind.NUMBER),
    (str, Kind.TEXT),  # StrEnum too
    (msgspec.Struct, Kind.OBJECT),
)


@functools.cache
def fields_of(cls: type[msgspec.Struct]) -> tuple[FieldSpec, ...]:
    """The fields of a struct class in declaration order, without ``extra``, which is ours."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        _spec(field.name, field.encode_name, hints[field.name], required=field.required)
        for field in msgspec.structs.fields(cls)
        if field.name != "extra"
    )


def _spec(attribute: str, wire: str, hint: Any, *, required: bool) -> FieldSpec:
    facts: dict[str, Any] = {}
    known: list[str] = []
    plain = list(_members(hint, facts, known))
    types_ = [member for member in plain if member is not types.NoneType]
    main = types_[0] if len({*map(_kind, types_)}) == 1 else _widest(types_)
    kind = _kind(main)
    item = None
    if kind is Kind.LIST:
        (item_hint, *_) = get_args(main) or (Any,)
        item = _spec("", "", item_hint, required=True)
    return FieldSpec(
        attribute, wire, kind, required, struct=main if kind is Kind.OBJECT else None, item=item, known=tuple(known), **facts
    )


def _members(hint: Any, facts: dict[str, Any], known: list[str]) -> Any:
    """The types that a hint joins; constraints and known names are put aside on the way."""
    origin = get_origin(hint)
    if origin is Annotated:
        hint, *notes = get_args(hint)
        for note in notes:
            match note:
                case Text():
                    facts["text"] = note
                case Number():
                    facts["number"] = note
                case Items():
                    facts["items"] = note
                case OneOf():
                    facts["choices"] = note
                case Secret():
                    facts["secret"] = note
                case Deprecated():
                    facts["deprecated"] = note
                case _:
                    pass
        yield from _members(hint, facts, known)
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member, facts, known)
    elif origin is Literal:
        values = get_args(hint)
        known.extend(value for value in values if isinstance(value, str))
        yield type(values[0])
    else:
        yield hint


def _kind(hint: Any) -> Kind:
    origin = get_origin(hint) or hint
    if isinstance(origin, type):
        for base, kind in _KINDS:
            if issubclass(origin, base):
                return kind
        if issubclass(origin, Mapping):
            return Kind.MAP
        if issubclass(origin, Sequence):
            return Kind.LIST
    return Kind.ANY


def _widest(hints: list[Any]) -> Any:
    """Of ``int | float`` the float; anything else that is mixed is not looked into."""
    return float if {*map(_kind, hints)} == {Kind.INTEGER, Kind.NUMBER} else Any


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """The string under each field of a class and its bases, by attribute name."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, msgspec.Struct) or base is msgspec.Struct:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = inspect.cleandoc(text)
                case _:
                    pass
    return docs
