"""What has changed between two specs of an entry, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

__all__ = ["FieldChange", "field_changes"]

MAX_VALUE = 60
"""Characters of a value that are shown."""


class FieldChange(NamedTuple):
    """A field that has changed. Secrets do not count as changes, and their values are masked."""

    path: str
    """In wire names, such as ``LLM.Model``."""
    before: Any
    """None where it was not set."""
    after: Any
    """None where it is not set any more."""

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


def field_changes(before: str | None, after: str) -> Iterator[FieldChange]:
    """The fields in which two specs differ, as the journal keeps them; none where the earlier one is not known."""
    if before is not None:
        yield from _compared("", msgspec.json.decode(before), msgspec.json.decode(after))


def _compared(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:  # pyright: ignore[reportUnknownVariableType]
            yield from _compared(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return
    yield FieldChange(path, before, after)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."
