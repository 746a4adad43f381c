"""The vocabulary in which request structs state their bounds: ``Annotated[int, Number(10, 1800)]``.

Each bound is a fact, held as data, that the docs index and ``zego-aigc describe`` print. It also says what it forbids, in two
forms side by side: ``problems`` names what is wrong with a value, for the walk in :mod:`zego_aigc.schema.validation`, and
``failures`` writes the same rule as Python expressions, for the check that :mod:`zego_aigc.schema.codegen` compiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "ID_CHARS",
    "RTC_CHARS",
    "Advice",
    "Bind",
    "Deprecated",
    "Items",
    "Number",
    "OneOf",
    "Secret",
    "Text",
]

ID_CHARS = "0-9A-Za-z_-"
"""Letters, digits, ``-`` and ``_``: user ids and a stream task's StreamId."""

RTC_CHARS = "0-9A-Za-z_.-"
"""The same and the dot: every id inside the RTC object."""

Bind: TypeAlias = Callable[[str, Any], str]
"""Makes an object known to generated code: takes a hint for its name, and returns the name."""


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

    def problems(self, value: str) -> Iterator[tuple[str, str]]:
        """What is wrong with a string that UTF-8 can carry, as rule and message."""
        if len(value) < self.min_chars:
            yield "length", "must not be empty" if self.min_chars == 1 else f"must be at least {self.min_chars} characters"
            return
        if self.max_chars is not None and len(value) > self.max_chars:
            yield "length", f"is {len(value)} characters; at most {self.max_chars} are allowed"
        elif self.max_bytes is not None and (size := len(value.encode())) > self.max_bytes:
            yield "bytes", f"is {size} bytes in UTF-8; at most {self.max_bytes} are allowed"
        if value and self.chars is not None and re.fullmatch(f"[{self.chars}]+", value) is None:
            yield "characters", f"may hold only {self.alphabet}"
        if self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            yield "characters", f"must be {self.form or self.pattern}"

    def failures(self, var: str, bind: Bind) -> Iterator[str]:
        """Expressions of which one is true of a string in `var` that has problems."""
        if self.chars is not None and self.pattern is None:
            # One match answers for characters, length and bytes alike, since every allowed class is ASCII.
            most = min(bound for bound in (self.max_chars, self.max_bytes, 1 << 20) if bound is not None)
            match = re.compile(f"[{self.chars}]{{{self.min_chars},{most}}}").fullmatch
            yield f"not {bind('matches', match)}({var})"
            return
        if self.min_chars:
            yield f"len({var}) < {self.min_chars}"
        if self.max_chars is not None:
            yield f"len({var}) > {self.max_chars}"
        if self.max_bytes is not None:
            # Four bytes a character at most: a short string needs no second look.
            yield f"(len({var}) > {self.max_bytes // 4} and ({var}.isascii() and len({var}) or 1 << 30) > {self.max_bytes})"
        if self.pattern is not None:
            yield f"not {bind('matches', re.compile(self.pattern).fullmatch)}({var})"


class Number(msgspec.Struct, frozen=True):
    """An inclusive range."""

    low: float
    high: float

    def problems(self, value: float) -> Iterator[tuple[str, str]]:
        """What is wrong with a number, as rule and message."""
        if not self.low <= value <= self.high:
            yield "range", f"must be {_plain(self.low)} to {_plain(self.high)}"

    def failures(self, var: str) -> Iterator[str]:
        """The expression that is true of a number in `var` that has problems."""
        yield f"not {self.low} <= {var} <= {self.high}"


class OneOf(msgspec.Struct, frozen=True):
    """A closed set of values. Sets that the vendor keeps extending are ``Literal[...] | str``: any string passes."""

    values: tuple[int | str, ...]

    def __str__(self) -> str:
        *most, last = map(str, self.values)
        return f"{', '.join(most)} or {last}" if most else last

    def problems(self, value: Any) -> Iterator[tuple[str, str]]:
        """What is wrong with a value, as rule and message."""
        if value not in self.values:
            yield "choice", f"must be {self}"

    def failures(self, var: str) -> Iterator[str]:
        """The expression that is true of a value in `var` that has problems."""
        yield f"{var} not in {self.values!r}"


class Items(msgspec.Struct, frozen=True):
    """Bounds of a list's length."""

    most: int
    least: int = 0

    def problems(self, count: int) -> Iterator[tuple[str, str]]:
        """What is wrong with a list of so many items, as rule and message."""
        if not self.least <= count <= self.most:
            yield "items", f"holds {count} items; allowed are {self.least} to {self.most}"

    def failures(self, var: str) -> Iterator[str]:
        """The expression that is true of a list in `var` that has problems."""
        yield f"not {self.least} <= len({var}) <= {self.most}"


class Secret(msgspec.Struct, frozen=True):
    """The value is masked wherever the library shows it. With `keys`, only those keys of a map are."""

    keys: tuple[str, ...] = ()


class Deprecated(msgspec.Struct, frozen=True):
    """The vendor still takes the field but points elsewhere."""

    instead: str


def _plain(number: float) -> str:
    """1000000, not 1e+06."""
    return str(int(number)) if number == int(number) else str(number)


# --- rules between fields ----------------------------------------------------------------------------------------


class Advice(str):
    """A finding of a struct's ``rules()`` that is worth a :class:`~zego_aigc.errors.VendorAdvice` warning, not an error."""

    __slots__ = ()
