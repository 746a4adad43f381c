"""What free-form values may not be, in any format: nested too deeply, not a number, not text."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (free-form JSON until it has been checked)
from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from zego_aigc.errors import Problem

__all__ = ["NestedTooDeeply", "count_keys", "doubled_keys", "value_problems"]

MAX_DEPTH = 64
"""How deep lists and objects may be nested."""

_KEY = re.compile(rb'"\s*:')


class NestedTooDeeply(ValueError):
    """Lists and objects are nested deeper than :data:`MAX_DEPTH`."""

    def __init__(self) -> None:
        super().__init__(f"is nested too deeply: {MAX_DEPTH} levels are taken")


def count_keys(value: Any, depth: int = MAX_DEPTH) -> int:
    """How many keys all objects in a value have together.

    Raises:
        NestedTooDeeply: it is.
    """
    if isinstance(value, dict):
        inner: Any = value.values()
        count = len(value)
    elif isinstance(value, list):
        inner = value
        count = 0
    else:
        return 0
    if not depth:
        raise NestedTooDeeply
    for item in inner:
        if isinstance(item, dict | list):
            count += count_keys(item, depth - 1)
    return count


def doubled_keys(text: bytes, keys: int) -> list[str]:
    """Keys that an object in a JSON text has twice, of which a parser would silently keep the last.

    Args:
        text: the JSON text.
        keys: how many keys the parsed value has.
    """
    if len(_KEY.findall(text)) == keys:
        return []  # each key in the text has been kept; a colon after a quote within a string only leads to a closer look
    doubled: dict[str, None] = {}

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            names = [name for name, _ in pairs]
            doubled.update(dict.fromkeys(name for name in seen if names.count(name) > 1))
        return seen

    json.loads(text, object_pairs_hook=note)
    return list(doubled)


def value_problems(value: Any, path: str, depth: int = MAX_DEPTH) -> Iterator[Problem]:
    """What TOML can write and JSON cannot carry."""
    if isinstance(value, Mapping | list):
        if not depth:
            yield Problem(path, "depth", str(NestedTooDeeply()))
            return
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from value_problems(item, f"{path}.{key}" if path else key, depth - 1)
        else:
            for index, item in enumerate(value):
                yield from value_problems(item, f"{path}[{index}]", depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "type", f"must be a number that JSON can carry, not {value}")
    elif isinstance(value, dt.date | dt.time):
        yield Problem(path, "type", f'is a date or time of TOML: write it as text, "{value.isoformat()}"')
