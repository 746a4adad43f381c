"""The vocabulary in which request structs state their bounds: ``Annotated[int, Number(10, 1800)]``.

These are facts about a field, held as data. :mod:`zego_aigc.schema.fields` collects them, :mod:`zego_aigc.schema.validation`
enforces them, and the docs index and ``zego-aigc describe`` print them.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["ID_CHARS", "RTC_CHARS", "Deprecated", "Items", "Number", "OneOf", "Secret", "Text"]

ID_CHARS = "0-9A-Za-z_-"
"""Letters, digits, ``-`` and ``_``: user ids and a stream task's StreamId."""

RTC_CHARS = "0-9A-Za-z_.-"
"""The same and the dot: every id inside the RTC object."""


class Text(msgspec.Struct, frozen=True):
    """Bounds of a string. Both lengths may hold at once, since the vendor counts in bytes here and in characters there."""

    min_chars: int = 0
    max_chars: int | None = None
    max_bytes: int | None = None  # in UTF-8
    chars: str | None = None  # the inside of a regular expression's character class
    pattern: str | None = None  # a whole regular expression, where a class is not enough
    form: str = ""  # how a message names the pattern

    @property
    def alphabet(self) -> str:
        """The allowed characters, for people."""
        others = re.sub(r"\\(.)", r"\1", self.chars or "").removeprefix("0-9A-Za-z")
        return f"letters, digits and {others}"


class Number(msgspec.Struct, frozen=True):
    """An inclusive range."""

    low: float
    high: float


class OneOf(msgspec.Struct, frozen=True):
    """A closed set of values. Sets that the vendor keeps extending are ``Literal[...] | str``: any string passes."""

    values: tuple[int | str, ...]


class Items(msgspec.Struct, frozen=True):
    """Bounds of a list's length."""

    most: int
    least: int = 0


class Secret(msgspec.Struct, frozen=True):
    """The value is masked wherever the library shows it. With `keys`, only those keys of a map are."""

    keys: tuple[str, ...] = ()


class Deprecated(msgspec.Struct, frozen=True):
    """The vendor still takes the field but points elsewhere."""

    instead: str
