"""Building ``Params`` for the vendors behind TTS and ASR, in the shape that each of them documents."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (Params are free-form JSON)
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zego_aigc.errors import InvalidRequest, Problem

__all__ = ["VendorParams"]


class VendorParams:
    """Collects a vendor's parameters by dotted path; unset ones stay away.

    Args:
        maker: the constructor that uses it, for messages.
    """

    def __init__(self, maker: str) -> None:
        self.maker = maker
        self.body: dict[str, Any] = {}
        self.problems: list[Problem] = []

    def put(
        self,
        path: str,
        value: Any,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        above: float = -math.inf,
        whole: bool = False,
    ) -> None:
        """Set one parameter, noting a number that is outside the documented range."""
        if value is None:
            return
        if (low, high, above) != (-math.inf, math.inf, -math.inf):
            self._check_number(path, value, low, high, above, whole=whole)
        self._place(path, value)

    def _check_number(self, path: str, value: Any, low: float, high: float, above: float, *, whole: bool) -> None:
        kinds = int if whole else int | float
        least = f"above {above:g} and at most" if above > low else f"{low:g} to"
        if not isinstance(value, kinds) or isinstance(value, bool):
            self.refuse(path, "type", f"must be {'an integer' if whole else 'a number'}")
        elif not (low <= value <= high and value > above):
            self.refuse(path, "range", f"must be {least} {high:g} (got {value!r})")

    def credential(self, name: str, value: str | None, *, required: bool = True) -> None:
        """Set a key of ``app``. Its value is in no message."""
        if required and not value:
            self.refuse(f"app.{name}", "required", "is required")
        self.put(f"app.{name}", value)

    def needed(self, path: str, value: str) -> None:
        """Set a string without which the vendor cannot do."""
        if not value:
            self.refuse(path, "required", "is required")
        self.put(path, value)

    def refuse(self, path: str, rule: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(f"Params.{path}", rule, message))

    def _place(self, path: str, value: Any) -> None:
        *parents, name = path.split(".")
        inner = self.body
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value

    def finish(self, more: Mapping[str, Any] | None) -> dict[str, Any]:
        """The parameters, with more of the vendor's own keys merged in; those win.

        Raises:
            InvalidRequest: with every problem that was noted.
        """
        if self.problems:
            raise InvalidRequest(self.problems, action=self.maker)
        return _merged(self.body, more) if more else self.body


def _merged(body: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(body)
    for key, value in more.items():
        mine = result.get(key)
        result[key] = _merged(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result
