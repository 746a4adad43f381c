"""What results need beyond msgspec: broken text, nulls passed over, open sets of numbers, our own string types, times."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON)
from __future__ import annotations

import enum
import re
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from zego_aigc.schema.fields import FieldSpec, Kind, fields_of

__all__ = ["OpenNumber", "dec_hook", "declared", "decode_json", "enc_hook", "unix_seconds", "utc"]


def decode_json(text: bytes) -> Any:
    """A JSON text as builtins. What is no character becomes U+FFFD, so that half an emoji does not cost all the rest.

    Raises:
        ValueError: it is not JSON all the same.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        if (repaired := _repaired(text)) == text:
            raise
        return msgspec.json.decode(repaired)


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape sequence in JSON: a whole surrogate pair, half of one, or another."""


def _repaired(text: bytes) -> bytes:
    """A JSON text without a byte order mark, bytes that are not UTF-8, and halves of surrogate pairs."""
    plain = text.decode("utf-8-sig", "replace").encode()
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match["half"] else match[0], plain)


class OpenNumber(enum.IntEnum):
    """A set of numbers that the vendor may extend: a new one becomes a member named ``UNKNOWN_<number>``."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return type(self), (self._value_,)  # CPython up to 3.11.3 would look a new one up by its name


def declared(kind: type[msgspec.Struct], value: Any) -> Any:
    """Of a JSON object what a struct declares, nulls left out: they mean the same as absent keys.

    Free-form maps inside stay as they are, nulls included.
    """
    if not isinstance(value, dict):
        return value
    return {spec.wire: _declared(spec, inner) for spec in fields_of(kind) if (inner := value.get(spec.wire)) is not None}


def _declared(spec: FieldSpec, value: Any) -> Any:
    if spec.kind is Kind.OBJECT:
        return declared(spec.struct, value)
    if spec.kind is Kind.LIST and spec.item is not None and isinstance(value, list):
        return [_declared(spec.item, inner) for inner in value if inner is not None]
    return value


def dec_hook(kind: type[Any], value: Any) -> Any:
    """The ``dec_hook`` of every decoder of results: strings become the ``str`` subclass that the field declares.

    Raises:
        TypeError: the value is not a string; msgspec adds where.
    """
    if issubclass(kind, str) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"expected `{kind.__name__}`, got `{type(value).__name__}`")


def enc_hook(value: Any) -> Any:
    """The ``enc_hook`` for writing results out again: a ``str`` subclass is written as the string that it is.

    Raises:
        NotImplementedError: the value is not a string.
    """
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be written")


_SECONDS_END = 100_000_000_000
"""Unix times below are taken for seconds (until the year 5138), those from here on for milliseconds (since 1973)."""


def unix_seconds(time: float) -> float:
    """Seconds for a Unix time in seconds or milliseconds: the vendor's pages and examples differ, so its size tells."""
    return time if abs(time) < _SECONDS_END else time / 1000


def utc(time: int | None) -> datetime | None:
    """An aware datetime for a Unix time; None for 0, which stands for "not given", and for what no calendar holds."""
    try:
        return datetime.fromtimestamp(unix_seconds(time), UTC) if time else None
    except (OverflowError, OSError, ValueError):
        return None
