"""What results need beyond msgspec: nulls passed over, open sets of numbers, our own string types, times as datetimes."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON)
from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from zego_aigc.schema.fields import FieldSpec, Kind, fields_of

if TYPE_CHECKING:
    import msgspec

__all__ = ["OpenNumber", "dec_hook", "declared", "enc_hook", "unix_seconds", "utc"]


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
