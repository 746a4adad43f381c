"""What is wrong with how a request was written down: every slip at once, with the class and the names that were meant.

msgspec's constructor names the first slip only, and not the class. Teaching it more takes a metaclass whose ``__call__`` is
Python: 370 ns for a struct that is built in 53. So nothing is done where structs are built. When such an error passes through
the client's block, the call is read from the source that the traceback points at, and a note is added to the error.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, cast

import msgspec

from zego_aigc.schema.fields import fields_of
from zego_aigc.schema.naming import did_you_mean, snake

__all__ = ["note_slips", "slips"]

_COMPLAINTS = ("Missing required argument", "Unexpected keyword argument", "Extra positional arguments provided")


def slips(cls: type[msgspec.Struct], names: Iterable[str], *, positional: int = 0) -> Iterator[str]:
    """What is wrong with a construction, one line a slip.

    Args:
        cls: what was to be made.
        names: the names of the arguments.
        positional: how many arguments had no name.
    """
    known = {spec.attribute for spec in fields_of(cls)}
    required = {spec.attribute for spec in fields_of(cls) if spec.required}
    given = set(names)
    if positional:
        first = next(iter(fields_of(cls)), None)
        example = "" if first is None else f", such as {cls.__name__}({first.attribute}=...)"
        yield f"fields are given by name{example}: {positional} came without one"
    for name in sorted(given - known - {"extra"}):
        if (written := snake(name)) in known:
            yield f"{name} is written {written}"
            required.discard(written)
        else:
            yield f"{name} is not a field{did_you_mean(name, known)}"
    for spec in fields_of(cls):
        if spec.attribute in required - given:
            yield f"{spec.attribute} is required"


def note_slips(error: BaseException | None) -> None:
    """Add a note to the error of a construction that has failed. Other errors stay as they are."""
    if not isinstance(error, TypeError) or not str(error).startswith(_COMPLAINTS) or hasattr(error, "__notes__"):
        return
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    call = None if place is None else _call_at(place)
    if place is None or call is None:
        return
    cls = _resolved(call.func, place.tb_frame)
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct) and hasattr(cls, "from_wire")):
        return
    names = [*_names(call, place.tb_frame)]
    found = [*slips(cls, names, positional=len(call.args))]
    if found:
        error.add_note("\n  ".join([f"{cls.__name__}(...) cannot be made:", *found]))


def _call_at(place: TracebackType) -> ast.Call | None:
    """The call that a traceback's entry points at, if its source can be had."""
    code = place.tb_frame.f_code
    line, last_line, column, last_column = list(code.co_positions())[place.tb_lasti // 2]
    lines = [text.encode() for text in linecache.getlines(code.co_filename, place.tb_frame.f_globals)]
    if line is None or last_line is None or column is None or last_column is None or last_line > len(lines):
        return None
    part = lines[line - 1 : last_line]
    part[-1] = part[-1][:last_column]
    part[0] = part[0][column:]
    try:
        node = ast.parse(b"(" + b"".join(part) + b")", mode="eval").body
    except (SyntaxError, ValueError):
        return None
    return node if isinstance(node, ast.Call) else None


def _resolved(node: ast.expr, frame: FrameType) -> Any:
    """What a name, or a name in a module, stands for in a frame; None if that takes more than looking."""
    match node:
        case ast.Name(id=name):
            return frame.f_locals.get(name, frame.f_globals.get(name))
        case ast.Attribute(value=inner, attr=name):
            return getattr(_resolved(inner, frame), name, None)
        case _:
            return None


def _names(call: ast.Call, frame: FrameType) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        elif isinstance(fields := _resolved(keyword.value, frame), Mapping):
            yield from map(str, cast("Mapping[object, object]", fields))
