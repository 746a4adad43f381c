"""Placeholders in the strings of an entry: ``${NAME}`` from the environment, ``{n}`` and ``{column}`` from Count and Rows."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON until it has been checked)
from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from zego_aigc.errors import Problem
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.fields import FieldSpec, Kind, fields_of
from zego_aigc.schema.naming import did_you_mean

__all__ = ["Placeholders", "typed"]

_PLACEHOLDER = re.compile(
    r"\$\$\{"  # a literal ${
    r"|\$\{(?P<variable>[^}]*)(?P<closed>\}?)"
    r"|\{\{(?P<literal>[^{}]*)\}\}"
    r"|\{(?P<name>[^{}:]*)(?::(?P<width>0?\d{1,2}))?\}"
)
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_WORD = re.compile(r"\w[\w .-]{0,63}")

_OMIT = object()
"""Stands for a value whose cell is empty: it is not sent."""

MISSING = "unset"
"""Stands for what is missing. It passes most rules, so that what else is wrong with an entry is still found."""


class Placeholders:
    """Fills placeholders into the strings of an entry, and notes what it cannot fill.

    Args:
        environ: environment variables.
        values: what ``{...}`` may stand for; None where braces have no meaning (JSON Lines).
        source: what gives the values, for messages: ``"Count"`` or ``"agents.csv"``; None where nothing does.
    """

    def __init__(
        self, environ: Mapping[str, str], values: Mapping[str, str | int] | None = None, source: str | None = None
    ) -> None:
        self._environ = environ
        self._values = values
        self._source = source
        self.problems: list[Problem] = []

    def fill(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """An entry, filled. A placeholder that is all of a value becomes a number or a boolean where the field takes one."""
        name = raw.get("Action")
        cls = ACTIONS.get(name) if isinstance(name, str) else None
        filled: dict[str, Any] = {}
        for key, value in raw.items():
            spec = None if key != "Body" or cls is None else FieldSpec("", "Body", Kind.OBJECT, required=False, struct=cls)
            inner = self._fill(value, key, spec)
            if inner is not _OMIT:
                filled[sys.intern(key)] = inner
        return filled

    def fill_value(self, value: Any, path: str) -> Any:
        """A single value, filled, as text."""
        return self._fill(value, path, None)

    def _fill(self, value: Any, path: str, spec: FieldSpec | None) -> Any:
        if isinstance(value, str):
            return self._text(value, path, spec) if "{" in value else value
        if isinstance(value, Mapping):
            fields = _fields(spec)
            filled = {
                sys.intern(key): self._fill(inner, f"{path}.{key}" if path else key, fields.get(key))
                for key, inner in value.items()
            }
            return {key: inner for key, inner in filled.items() if inner is not _OMIT}
        if isinstance(value, list):
            item = None if spec is None else spec.item
            items = [self._fill(inner, f"{path}[{index}]", item) for index, inner in enumerate(value)]
            return [inner for inner in items if inner is not _OMIT]
        return value

    def _text(self, value: str, path: str, spec: FieldSpec | None) -> Any:
        whole = _PLACEHOLDER.fullmatch(value)
        if whole is None:
            return _PLACEHOLDER.sub(lambda match: self._one(match, path), value)
        text = self._one(whole, path)
        if not text and whole["name"] is not None:
            return _OMIT
        if spec is None or text in {value, MISSING}:
            return text
        fitted = typed(text, spec.kind)
        if isinstance(fitted, str) and spec.kind in _SCALARS:
            self._note(path, f"must be {_SCALARS[spec.kind]} (got {text!r})")
            return _OMIT
        return fitted

    def _one(self, match: re.Match[str], path: str) -> str:
        text = match[0]
        if text == "$${":
            return "${"
        if match["variable"] is not None:
            return self._variable(match, path)
        if self._values is None:
            return text
        if (literal := match["literal"]) is not None:
            return f"{{{literal}}}" if self._means_something(literal) else text
        return self._value(match, path)

    def _variable(self, match: re.Match[str], path: str) -> str:
        known = _VARIABLE.fullmatch(match["variable"])
        if known is None or not match["closed"]:
            why = "a variable's name is made of letters, digits and _" if match["closed"] else "its } is missing"
            self._note(
                path, f"{match[0]} is no placeholder: {why}. Write ${{NAME}} or ${{NAME:-default}}, and $${{ for a plain ${{"
            )
            return MISSING
        name = known["name"]
        value = self._environ.get(name) or known["default"]
        if value is None:
            self._note(path, f"the environment variable {name} is not set, and ${{{name}}} has no default")
            return MISSING
        if not _is_text(value):
            self._note(path, f"the environment variable {name} is not UTF-8 text")
            return MISSING
        return value

    def _means_something(self, literal: str) -> bool:
        assert self._values is not None
        name = literal.partition(":")[0]
        return name == "n" or name in self._values

    def _value(self, match: re.Match[str], path: str) -> str:
        assert self._values is not None
        name = match["name"]
        if name in self._values:
            value = self._values[name]
            return format(value, match["width"]) if isinstance(value, int) and match["width"] else str(value)
        if self._source is None:
            if name == "n":
                self._note(path, "{n} stands for a number, but the entry has no Count or Rows. Write {{n}} for a plain {n}")
        elif _WORD.fullmatch(name) and self._source != "Count":
            hint = did_you_mean(name, self._values)
            self._note(path, f"{{{name}}} is no column of {self._source}{hint}. Write {{{{{name}}}}} for plain braces")
        return match[0]

    def _note(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, "placeholder", message))


def _fields(spec: FieldSpec | None) -> Mapping[str, FieldSpec]:
    return {} if spec is None or spec.kind is not Kind.OBJECT else _fields_by_name(spec.struct)


_by_name: dict[type[msgspec.Struct], dict[str, FieldSpec]] = {}


def _fields_by_name(cls: type[msgspec.Struct]) -> Mapping[str, FieldSpec]:
    if cls not in _by_name:
        _by_name[cls] = {spec.wire: spec for spec in fields_of(cls)}
    return _by_name[cls]


_SCALARS = {Kind.INTEGER: "an integer", Kind.NUMBER: "a number", Kind.BOOLEAN: "true or false"}

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def typed(text: str, kind: Kind) -> Any:
    """A text as a field takes it. What does not fit stays text, and the field's own rule says so."""
    trimmed = text.strip()
    if kind is Kind.BOOLEAN:
        return _BOOLEANS.get(trimmed.lower(), text)
    if kind not in (Kind.INTEGER, Kind.NUMBER):
        return text
    if re.fullmatch(r"[+-]?\d{1,18}", trimmed, re.ASCII):
        return int(trimmed)
    try:
        number = float(trimmed)
    except ValueError:
        return text
    if kind is Kind.INTEGER:  # a spreadsheet may write 30 as 30.0
        return int(number) if number.is_integer() and abs(number) < 2**53 else text
    return number if math.isfinite(number) else text


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
