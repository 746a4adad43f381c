"""A quick check of a request: Python written out from the struct's declaration and compiled once.

A walk over the fields costs ten times as much. What a value may not be is written by the constraints themselves, see
:mod:`zego_aigc.schema.constraints`; here the struct is walked, once for each class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from zego_aigc.schema.fields import FieldSpec, Kind, fields_of

__all__ = ["compiled_check", "source_of"]


@functools.cache
def compiled_check(cls: type[msgspec.Struct]) -> Callable[[Any], bool]:
    """A function that says whether a request is valid, has no ``extra`` and calls for no advice.

    False may be over-careful: then the walk in :mod:`zego_aigc.schema.validation` decides.
    """
    generator = _CodeGenerator(cls)
    exec(generator.source, generator.constants)  # noqa: S102 - our own annotations, as dataclasses do it
    check: Callable[[Any], bool] = generator.constants["check"]
    return check


def source_of(cls: type[msgspec.Struct]) -> str:
    """The code of :func:`compiled_check`, to be read."""
    return _CodeGenerator(cls).source


class _CodeGenerator:
    """Writes the check of a class: the fields of its structs in place, since a call for each would cost as much as its check.

    A field's value is called ``value``, a struct or list inside by its path, a list's item ``item``; constants by what they
    are and, where there are several, a number.
    """

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        self.constants: dict[str, Any] = {}
        self._lines = ["def check(request):", "    try:"]
        self._struct(2, cls, "request")
        self._line(1, "except (TypeError, ValueError, ArithmeticError, RecursionError): return False")
        self._line(1, "return True")

    @property
    def source(self) -> str:
        return "\n".join(self._lines)

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("    " * depth + text)

    def _bind(self, hint: str, constant: Any) -> str:
        name, number = hint, 1
        while name in self.constants and self.constants[name] is not constant:
            number += 1
            name = f"{hint}_{number}"
        self.constants[name] = constant
        return name

    def _struct(self, depth: int, cls: type[msgspec.Struct], var: str) -> None:
        self._line(depth, f"if {var}.extra is not None: return False")
        for spec in fields_of(cls):
            inner = f"{var}_{spec.attribute}" if spec.kind in {Kind.OBJECT, Kind.LIST} else "value"
            self._line(depth, f"{inner} = {var}.{spec.attribute}")
            if spec.required:
                self._value(depth, spec, inner)
            else:
                self._line(depth, f"if {inner} is not None:")
                self._value(depth + 1, spec, inner)
        if hasattr(cls, "rules"):
            self._line(depth, f"for finding in {var}.rules(): return False")

    def _value(self, depth: int, spec: FieldSpec, var: str) -> None:
        failures = " or ".join(spec.failures(var, self._bind))
        self._line(depth, f"if {failures}: return False" if failures else "pass")
        if spec.kind is Kind.OBJECT:
            self._struct(depth, spec.struct, var)
        elif spec.kind is Kind.LIST and spec.item is not None:
            item = f"{var}_item" if spec.item.kind in {Kind.OBJECT, Kind.LIST} else "item"
            self._line(depth, f"for {item} in {var}:")
            self._value(depth + 1, spec.item, item)
