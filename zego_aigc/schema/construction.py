"""Notes on errors that Python or msgspec raises for the caller's code: what was meant.

msgspec's constructor names the first slip of a request only, and not the class. Teaching it more takes a metaclass whose
``__call__`` is Python: 370 ns for a struct that is built in 53. So nothing is done where structs are built. When such an error
passes through the client's block, a fleet's iterable or a test's report, the call is read from the source that the traceback
points at, and a note with every slip is added to the error. A coroutine that is used without ``await`` is noted there, too.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, cast

import msgspec

from zego_aigc.schema.naming import did_you_mean, snake

__all__ = ["note_mistake", "slips"]

_SLIPS = ("Missing required argument", "Unexpected keyword argument", "Extra positional arguments provided")

_NOT_AWAITED = "'coroutine' object "
_NOT_CALLED_SO = "Client.call() "

_PACKAGE = f"{__name__.partition('.')[0]}."


def slips(cls: type[msgspec.Struct], names: Iterable[str], *, positional: int = 0) -> Iterator[str]:
    """What is wrong with a construction, one line a slip.

    Args:
        cls: what was to be made.
        names: the names of the arguments.
        positional: how many arguments had no name.
    """
    fields = [field for field in msgspec.structs.fields(cls) if field.name != "extra"]
    known = {field.name for field in fields}
    required = {field.name for field in fields if field.required}
    given = set(names)
    if positional:
        example = f", such as {cls.__name__}({fields[0].name}=...)" if fields else ""
        yield f"fields are given by name{example}: {positional} came without one"
    for name in sorted(given - known - {"extra"}):
        if (written := snake(name)) in known:
            yield f"{name} is written {written}"
            required.discard(written)
        else:
            yield f"{name} is not a field{did_you_mean(name, known)}"
    for field in fields:
        if field.name in required - given:
            yield f"{field.name} is required"


def note_mistake(error: BaseException | None) -> None:
    """Add a note to an error of the caller's code, if it says what was meant. Other errors stay as they are."""
    if not isinstance(error, TypeError | AttributeError) or hasattr(error, "__notes__"):
        return
    text = str(error)
    if text.startswith(_SLIPS):
        _note_slips(error)
    elif text.startswith(_NOT_AWAITED) and "context manager" in text:
        error.add_note(
            "'await' is missing, or this is nothing to enter: 'async with client.agent(create) as agent:' makes something and "
            "ends it with the block, 'agent = await client.start(create)' makes what outlives it"
        )
    elif text.startswith(_NOT_AWAITED):
        error.add_note("'await' is missing, as in 'result = await client.call(...)'")
    elif text.startswith(_NOT_CALLED_SO):
        error.add_note(
            "a call takes one Action: client.call(ListAgents(...)). By name and body it is client.call_raw(name, body)"
        )


def _note_slips(error: BaseException) -> None:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    call = None if place is None else _call_at(place)
    if place is None or call is None:
        return
    cls = _resolved(call.func, place.tb_frame)
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct) and cls.__module__.startswith(_PACKAGE)):
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
