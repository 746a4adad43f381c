"""What msgspec needs to be told about results: our own string types, and Unix times as datetimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["dec_hook", "enc_hook", "utc"]


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


def utc(seconds: int) -> datetime | None:
    """An aware datetime for a Unix time in seconds; ``None`` for 0, which stands for "not given"."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC) if seconds else None
